/* The greatest of a window of +-1 is the OR of its bits. Padding never wins, and a window that holds nothing else gives
   -1. */
static void max_pool_window(const geometry *g, int32_t out_y, int32_t out_x, const uint64_t *in, uint64_t *out)
{
    int32_t words = (g->channels + 63) / 64;
    memset(out, 0, (size_t)words * sizeof *out);
    for (int32_t i = 0; i < g->kernel_height; i++) {
        int32_t y = out_y * g->stride_height - g->pad_top + i * g->dilation_height;
        for (int32_t j = 0; y >= 0 && y < g->height && j < g->kernel_width; j++) {
            int32_t x = out_x * g->stride_width - g->pad_left + j * g->dilation_width;
            for (int32_t word = 0; x >= 0 && x < g->width && word < words; word++)
                out[word] |= in[(y * g->width + x) * words + word];
        }
    }
}

static void run_max_pool_binary(const geometry *g, const uint64_t *in, uint64_t *out)
{
    for (int32_t y = 0; y < g->out_height; y++) {
        for (int32_t x = 0; x < g->out_width; x++) {
            max_pool_window(g, y, x, in, out);
            out += (g->channels + 63) / 64;
        }
    }
}
