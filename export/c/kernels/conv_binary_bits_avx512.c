/* The masks of the comparisons are the packed output. */
static ALWAYS_INLINE uint64_t bits_64(const binary_lanes *n, const int32_t *most)
{
    uint64_t a = _mm512_cmple_epi32_mask(n->a, _mm512_load_si512(most));
    uint64_t b = _mm512_cmple_epi32_mask(n->b, _mm512_load_si512(most + 16));
    uint64_t c = _mm512_cmple_epi32_mask(n->c, _mm512_load_si512(most + 32));
    uint64_t d = _mm512_cmple_epi32_mask(n->d, _mm512_load_si512(most + 48));
    return a | b << 16 | c << 32 | d << 48;
}

static void bits_narrow(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                        const uint64_t *weights, int32_t width, const int32_t *most, uint64_t *bits)
{
    for (int32_t i = 0; i < count; i += 4) {
        binary_lanes n[4];
        count_narrow(r, in, pixels + i, count - i, weights, width, n);
        for (int32_t j = 0; j < 4 && i + j < count; j++)
            bits[i + j] = bits_64(&n[j], most);
    }
}

/* Not inlined, which keeps the registers for the sums. */
static __attribute__((noinline)) void bits_wide(const binary_region *r, const uint64_t *in, const int32_t *pixels,
                                                int32_t count, const uint64_t *weights, const int32_t *most,
                                                uint64_t *bits)
{
    for (; count >= 4; count -= 4, pixels += 4, bits += 4) {
        binary_lanes n[4];
        count_4x64(r, in, pixels, weights, n);
        bits[0] = bits_64(&n[0], most);
        bits[1] = bits_64(&n[1], most);
        bits[2] = bits_64(&n[2], most);
        bits[3] = bits_64(&n[3], most);
    }
    for (; count > 0; count--, pixels++, bits++) {
        binary_lanes n = count_1x64(r, in, *pixels, weights);
        *bits = bits_64(&n, most);
    }
}

static void bits_tile(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                      const uint64_t *weights, int32_t width, const int32_t *most, uint64_t *bits)
{
    if (width == 64)
        bits_wide(r, in, pixels, count, weights, most, bits);
    else
        bits_narrow(r, in, pixels, count, weights, width, most, bits);
}
