typedef struct {
    geometry shape;
    int32_t divisor; /* 0: as many positions as the window has in the padded image; -1: in the image */
} average_pool_float;

static void run_average_pool_float(const average_pool_float *layer, const float *in, float *out)
{
    const geometry *g = &layer->shape;
    for (int32_t oy = 0; oy < g->out_height; oy++) {
        int32_t top = oy * g->stride_height - g->pad_top;
        int32_t bottom = smaller(top + g->kernel_height, g->height + g->pad_top);
        int32_t y0 = larger(top, 0), y1 = smaller(bottom, g->height);
        for (int32_t ox = 0; ox < g->out_width; ox++) {
            int32_t left = ox * g->stride_width - g->pad_left;
            int32_t right = smaller(left + g->kernel_width, g->width + g->pad_left);
            int32_t x0 = larger(left, 0), x1 = smaller(right, g->width);
            int32_t inside = (y1 - y0) * (x1 - x0);
            int32_t count = layer->divisor > 0 ? layer->divisor
                          : layer->divisor < 0 ? inside : (bottom - top) * (right - left);
            float share = 1.0f / (float)count;
            for (int32_t c = 0; c < g->channels; c++) {
                float sum = 0.0f;
                for (int32_t y = y0; y < y1; y++)
                    for (int32_t x = x0; x < x1; x++)
                        sum += in[(y * g->width + x) * g->channels + c];
                *out++ = sum * share;
            }
        }
    }
}
