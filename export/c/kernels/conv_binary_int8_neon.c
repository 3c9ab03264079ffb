/* Codes of four output channels before the zero point is added. */
static ALWAYS_INLINE int32x4_t steps_of_4(const int32_t *counts, int32_t products, const int32_t *bias,
                                          const float *multiplier, float32x4_t least, float32x4_t most)
{
    int32x4_t inside = vaddq_s32(vdupq_n_s32(products), vld1q_s32(bias));
    int32x4_t sum = vsubq_s32(inside, vshlq_n_s32(vld1q_s32(counts), 1));
    float32x4_t scaled = vmulq_f32(vcvtq_f32_s32(sum), vld1q_f32(multiplier));
    return vcvtnq_s32_f32(vminq_f32(vmaxq_f32(scaled, least), most));
}

/* Codes of `channels` output channels (up to 64) from their counts. `products` are those inside the image. */
static void codes_of_counts(const conv_binary_int8 *layer, int32_t channel, int32_t channels, int32_t products,
                            const int32_t *counts, int8_t *out)
{
    float32x4_t least = vdupq_n_f32((float)(layer->low - layer->zero));
    float32x4_t most = vdupq_n_f32((float)(layer->high - layer->zero));
    const int32_t *bias = layer->bias + channel;
    const float *multiplier = layer->multiplier + channel;
    int32x4_t zero = vdupq_n_s32(layer->zero);
    int32_t i = 0;
    for (; i + 8 <= channels; i += 8) {
        int32x4_t low = steps_of_4(counts + i, products, bias + i, multiplier + i, least, most);
        int32x4_t high = steps_of_4(counts + i + 4, products, bias + i + 4, multiplier + i + 4, least, most);
        int16x8_t codes = vcombine_s16(vmovn_s32(vaddq_s32(low, zero)), vmovn_s32(vaddq_s32(high, zero)));
        vst1_s8(out + i, vmovn_s16(codes));
    }
    for (; i < channels; i++) {
        int32_t sum = products - 2 * counts[i] + bias[i];
        out[i] = requantize(sum, multiplier[i], layer->zero, layer->low, layer->high);
    }
}
