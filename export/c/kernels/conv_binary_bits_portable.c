/* For 32 output channels, or the `channels` left, a bit: is the count at most `most`? */
static uint32_t bits_32(const int32_t *counts, const int32_t *most, int32_t channels)
{
    uint32_t bits = 0;
    for (int32_t i = 0; i < 32 && i < channels; i++)
        bits |= (uint32_t)(counts[i] <= most[i]) << i;
    return bits;
}

static void bits_tile(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                      const uint64_t *weights, int32_t width, const int32_t *most, uint64_t *bits)
{
    ALIGNED int32_t counts[BINARY_TILE][64];
    count_tile(r, in, pixels, count, weights, width, counts);
    for (int32_t i = 0; i < count; i++)
        bits[i] = bits_32(counts[i], most, width) | (uint64_t)bits_32(counts[i] + 32, most + 32, width - 32) << 32;
}
