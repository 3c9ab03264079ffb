static ALWAYS_INLINE uint64_t bits_8(const int32_t *counts, const int32_t *most)
{
    static const uint16_t values[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    uint16x4_t low = vmovn_u32(vcleq_s32(vld1q_s32(counts), vld1q_s32(most)));
    uint16x4_t high = vmovn_u32(vcleq_s32(vld1q_s32(counts + 4), vld1q_s32(most + 4)));
    return vaddvq_u16(vandq_u16(vcombine_u16(low, high), vld1q_u16(values)));
}

static void bits_tile(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                      const uint64_t *weights, int32_t width, const int32_t *most, uint64_t *bits)
{
    ALIGNED int32_t counts[BINARY_TILE][64];
    count_tile(r, in, pixels, count, weights, width, counts);
    for (int32_t i = 0; i < count; i++) {
        bits[i] = 0;
        for (int32_t channel = 0; channel < width; channel += 8)
            bits[i] |= bits_8(counts[i] + channel, most + channel) << channel;
    }
}
