/* Codes of `channels` output channels (up to 64) from their counts. `products` are those inside the image. */
static void codes_of_counts(const conv_binary_int8 *layer, int32_t channel, int32_t channels, int32_t products,
                            const int32_t *counts, int8_t *out)
{
    __m512i inside = _mm512_set1_epi32(products), zero = _mm512_set1_epi32(layer->zero);
    __m512 least = _mm512_set1_ps((float)(layer->low - layer->zero));
    __m512 most = _mm512_set1_ps((float)(layer->high - layer->zero));
    for (int32_t i = 0; i < channels; i += 16) {
        __mmask16 mask = (__mmask16)(channels - i >= 16 ? 0xffff : (1 << (channels - i)) - 1);
        __m512i bias = _mm512_maskz_loadu_epi32(mask, layer->bias + channel + i);
        __m512 multiplier = _mm512_maskz_loadu_ps(mask, layer->multiplier + channel + i);
        __m512i sum = _mm512_sub_epi32(inside, _mm512_slli_epi32(_mm512_load_si512(counts + i), 1));
        __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(sum, bias)), multiplier);
        scaled = _mm512_min_ps(_mm512_max_ps(scaled, least), most);
        _mm512_mask_cvtepi32_storeu_epi8(out + i, mask, _mm512_add_epi32(_mm512_cvtps_epi32(scaled), zero));
    }
}

static ALWAYS_INLINE void store_64(int32_t *counts, const binary_lanes *n)
{
    _mm512_store_si512(counts, n->a);
    _mm512_store_si512(counts + 16, n->b);
    _mm512_store_si512(counts + 32, n->c);
    _mm512_store_si512(counts + 48, n->d);
}

static void count_tile_narrow(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                              const uint64_t *weights, int32_t width, int32_t (*counts)[64])
{
    for (int32_t i = 0; i < count; i += 4) {
        binary_lanes n[4];
        count_narrow(r, in, pixels + i, count - i, weights, width, n);
        for (int32_t j = 0; j < 4 && i + j < count; j++)
            store_64(counts[i + j], &n[j]);
    }
}

/* Not inlined, which keeps the registers for the sums. */
static __attribute__((noinline)) void count_tile_wide(const binary_region *r, const uint64_t *in,
                                                      const int32_t *pixels, int32_t count, const uint64_t *weights,
                                                      int32_t (*counts)[64])
{
    int32_t i = 0;
    for (; i + 4 <= count; i += 4) {
        binary_lanes n[4];
        count_4x64(r, in, pixels + i, weights, n);
        store_64(counts[i], &n[0]);
        store_64(counts[i + 1], &n[1]);
        store_64(counts[i + 2], &n[2]);
        store_64(counts[i + 3], &n[3]);
    }
    for (; i < count; i++) {
        binary_lanes n = count_1x64(r, in, pixels[i], weights);
        store_64(counts[i], &n);
    }
}

static void count_tile(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                       const uint64_t *weights, int32_t width, int32_t (*counts)[64])
{
    if (width == 64)
        count_tile_wide(r, in, pixels, count, weights, counts);
    else
        count_tile_narrow(r, in, pixels, count, weights, width, counts);
}
