/* For 32 output channels a bit: is the count at most `most`? */
static uint64_t bits_32(const int32_t *counts, const int32_t *most)
{
    uint32_t above = 0;
    for (int i = 0; i < 32; i += 8) {
        __m256i n = _mm256_load_si256((const __m256i *)(counts + i));
        __m256i greater = _mm256_cmpgt_epi32(n, _mm256_load_si256((const __m256i *)(most + i)));
        above |= (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(greater)) << i;
    }
    return ~above;
}

/* Two vectors to half the width of their elements with saturation, in order. */
static ALWAYS_INLINE __m256i in_order(__m256i packed)
{
    return _mm256_permute4x64_epi64(packed, 0xd8);
}

static ALWAYS_INLINE __m256i narrow_16(const int32_t *most)
{
    const __m256i *wide = (const __m256i *)most;
    return in_order(_mm256_packs_epi32(_mm256_load_si256(wide), _mm256_load_si256(wide + 1)));
}

/* The same of 16-bit counts, `low` and `high` the most of 16 channels each. */
static ALWAYS_INLINE uint64_t narrow_bits_32(const int16_t *counts, __m256i low, __m256i high)
{
    const __m256i *n = (const __m256i *)counts;
    __m256i above = _mm256_packs_epi16(_mm256_cmpgt_epi16(_mm256_load_si256(n), low),
                                       _mm256_cmpgt_epi16(_mm256_load_si256(n + 1), high));
    return (uint32_t)~_mm256_movemask_epi8(in_order(above));
}

/* Counts that fit 16 bits. */
static void narrow_bits_tile(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                             const uint64_t *weights, int32_t width, const int32_t *most, uint64_t *bits)
{
    ALIGNED int16_t counts[BINARY_TILE][64] = {{0}};
    __m256i a = narrow_16(most), b = narrow_16(most + 16), c = narrow_16(most + 32), d = narrow_16(most + 48);
    count_narrow(r, in, pixels, count, weights, width, counts, NULL);
    for (int32_t i = 0; i < count; i++)
        bits[i] = narrow_bits_32(counts[i], a, b) | narrow_bits_32(counts[i] + 32, c, d) << 32;
}

static void bits_tile(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                      const uint64_t *weights, int32_t width, const int32_t *most, uint64_t *bits)
{
    ALIGNED int32_t counts[BINARY_TILE][64];
    if (r->tap_rows * r->runs * r->run_length <= BINARY_NARROW) {
        narrow_bits_tile(r, in, pixels, count, weights, width, most, bits);
        return;
    }
    count_tile(r, in, pixels, count, weights, width, counts);
    for (int32_t i = 0; i < count; i++)
        bits[i] = bits_32(counts[i], most) | bits_32(counts[i] + 32, most + 32) << 32;
}
