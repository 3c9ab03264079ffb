/* The most differing bits that still give +1, for each output channel of a block; never for those that fill it up. */
static void most_differing(const conv_binary_bits *layer, int32_t block, int32_t missing, int32_t *most)
{
    for (int32_t i = 0; i < 64; i++) {
        int32_t channel = 64 * block + i;
        most[i] = channel < layer->shape.out_channels ? (layer->limit[channel] - missing) >> 1 : -1;
    }
}

/* One block of 64 output channels, and so one word of every output pixel, over one region. */
static void bits_block(const conv_binary_bits *layer, const binary_region *r, int32_t block, const uint64_t *in,
                       uint64_t *out)
{
    int32_t words = (layer->shape.out_channels + 63) / 64;
    const uint64_t *weights = layer->weights + block_weights(&layer->shape, block);
    ALIGNED int32_t most[64];
    binary_pixel pixel = {r->in, r->out, 0};
    most_differing(layer, block, r->missing, most);
    for (int32_t left = r->pixels; left > 0; left -= BINARY_TILE) {
        int32_t pixels[BINARY_TILE], outs[BINARY_TILE];
        uint64_t bits[BINARY_TILE];
        int32_t count = left < BINARY_TILE ? left : BINARY_TILE;
        next_pixels(r, &pixel, count, pixels, outs);
        bits_tile(r, in, pixels, count, weights, block_width(&layer->shape, block), most, bits);
        for (int32_t i = 0; i < count; i++)
            out[(ptrdiff_t)outs[i] * words + block] = bits[i];
    }
}

static void run_conv_binary_bits(const conv_binary_bits *layer, const uint64_t *in, uint64_t *out)
{
    binary_region regions[BINARY_REGIONS];
    int32_t y = 0, x = 0, count;
    while ((count = next_regions(&layer->shape, &y, &x, regions)) > 0)
        for (int32_t block = 0; 64 * block < layer->shape.out_channels; block++)
            for (int32_t i = 0; i < count; i++)
                bits_block(layer, &regions[i], block, in, out);
}
