/* One block of 64 output channels over one region. */
static void codes_block(const conv_binary_int8 *layer, const binary_region *r, int32_t block, const uint64_t *in,
                        int8_t *out)
{
    const geometry *g = &layer->shape;
    int32_t products = g->kernel_height * g->kernel_width * g->channels - r->missing;
    int32_t channels = g->out_channels - 64 * block < 64 ? g->out_channels - 64 * block : 64;
    const uint64_t *weights = layer->weights + block_weights(g, block);
    ALIGNED int32_t counts[BINARY_TILE][64];
    binary_pixel pixel = {r->in, r->out, 0};
    for (int32_t left = r->pixels; left > 0; left -= BINARY_TILE) {
        int32_t pixels[BINARY_TILE], outs[BINARY_TILE];
        int32_t count = left < BINARY_TILE ? left : BINARY_TILE;
        next_pixels(r, &pixel, count, pixels, outs);
        count_tile(r, in, pixels, count, weights, block_width(g, block), counts);
        for (int32_t i = 0; i < count; i++) {
            int8_t *codes = out + (ptrdiff_t)outs[i] * g->out_channels + 64 * block;
            codes_of_counts(layer, 64 * block, channels, products, counts[i], codes);
        }
    }
}

static void run_conv_binary_int8(const conv_binary_int8 *layer, const uint64_t *in, int8_t *out)
{
    binary_region regions[BINARY_REGIONS];
    int32_t y = 0, x = 0, count;
    while ((count = next_regions(&layer->shape, &y, &x, regions)) > 0)
        for (int32_t block = 0; 64 * block < layer->shape.out_channels; block++)
            for (int32_t i = 0; i < count; i++)
                codes_block(layer, &regions[i], block, in, out);
}
