/* A bit for each of up to 64 bytes, 1 where it is above 0. */
static uint64_t bits_of(const int8_t *bytes, size_t count)
{
    const __mmask64 held = ~0ull >> (64 - count); /* bytes that are not there are not read */
    return _mm512_cmpgt_epi8_mask(_mm512_maskz_loadu_epi8(held, bytes), _mm512_setzero_si512());
}

/* +1 or -1 for each of up to 64 bits. */
static void signs_of(uint64_t bits, int8_t *bytes, size_t count)
{
    const __m512i signs = _mm512_mask_blend_epi8(bits, _mm512_set1_epi8(-1), _mm512_set1_epi8(1));
    _mm512_mask_storeu_epi8(bytes, ~0ull >> (64 - count), signs);
}
