/* Codes of eight output channels before the zero point is added. */
static ALWAYS_INLINE __m256i steps_of_8(const int32_t *counts, __m256i inside, const int32_t *bias,
                                        const float *multiplier, __m256 least, __m256 most)
{
    __m256i differing = _mm256_slli_epi32(_mm256_load_si256((const __m256i *)counts), 1);
    __m256i sum = _mm256_add_epi32(_mm256_sub_epi32(inside, differing), _mm256_loadu_si256((const __m256i *)bias));
    __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(multiplier));
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(scaled, least), most));
}

/* Codes of `channels` output channels (up to 64) from their counts. `products` are those inside the image. */
static void codes_of_counts(const conv_binary_int8 *layer, int32_t channel, int32_t channels, int32_t products,
                            const int32_t *counts, int8_t *out)
{
    __m256i inside = _mm256_set1_epi32(products);
    __m256 least = _mm256_set1_ps((float)(layer->low - layer->zero));
    __m256 most = _mm256_set1_ps((float)(layer->high - layer->zero));
    const int32_t *bias = layer->bias + channel;
    const float *multiplier = layer->multiplier + channel;
    int32_t i = 0;
    for (; i + 8 <= channels; i += 8) {
        __m256i steps = steps_of_8(counts + i, inside, bias + i, multiplier + i, least, most);
        __m256i codes = _mm256_add_epi32(steps, _mm256_set1_epi32(layer->zero));
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
        _mm_storel_epi64((__m128i *)(void *)(out + i), _mm_packs_epi16(words, words));
    }
    for (; i < channels; i++) {
        int32_t sum = products - 2 * counts[i] + bias[i];
        out[i] = requantize(sum, multiplier[i], layer->zero, layer->low, layer->high);
    }
}
