static void run_max_pool_$name(const geometry *g, const $element *in, $element *out)
{
    for (int32_t oy = 0; oy < g->out_height; oy++)
        for (int32_t ox = 0; ox < g->out_width; ox++) {
            for (int32_t c = 0; c < g->channels; c++)
                out[c] = $least;
            for (int32_t ky = 0; ky < g->kernel_height; ky++)
                for (int32_t kx = 0; kx < g->kernel_width; kx++) {
                    int32_t y = oy * g->stride_height - g->pad_top + ky * g->dilation_height;
                    int32_t x = ox * g->stride_width - g->pad_left + kx * g->dilation_width;
                    if (y < 0 || y >= g->height || x < 0 || x >= g->width)
                        continue;
                    const $element *from = in + (y * g->width + x) * g->channels;
                    for (int32_t c = 0; c < g->channels; c++)
                        out[c] = from[c] > out[c] ? from[c] : out[c];
                }
            out += g->channels;
        }
}
