/* Codes to bits: 1 where a channel's code is at least `least`, which is -128 for always and 128 for never. */
#if defined(__AVX512BW__)
#include <immintrin.h>

static uint64_t signs_of(const int8_t *in, const int16_t *least, int32_t count)
{
    uint64_t inside = ~(uint64_t)0 >> (64 - count);
    __mmask32 near = (__mmask32)inside, far = (__mmask32)(inside >> 32);
    __m512i codes = _mm512_maskz_loadu_epi8(inside, in);
    __m512i low = _mm512_cvtepi8_epi16(_mm512_castsi512_si256(codes));
    __m512i high = _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64(codes, 1));
    uint64_t bits = _mm512_mask_cmpge_epi16_mask(near, low, _mm512_maskz_loadu_epi16(near, least));
    return bits | (uint64_t)_mm512_mask_cmpge_epi16_mask(far, high, _mm512_maskz_loadu_epi16(far, least + 32)) << 32;
}
#else
static inline uint32_t signs_of_32(const int8_t *in, const int16_t *least, int32_t count)
{
    uint32_t bits = 0;
    for (int32_t i = 0; i < 32 && i < count; i++)
        bits |= (uint32_t)(in[i] >= least[i]) << i;
    return bits;
}

#if defined(__AVX2__)
#include <immintrin.h>

static inline __m256i below_16(const int8_t *in, const int16_t *least)
{
    __m256i codes = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)in));
    return _mm256_cmpgt_epi16(_mm256_loadu_si256((const __m256i *)(const void *)least), codes);
}

static uint64_t signs_of(const int8_t *in, const int16_t *least, int32_t count)
{
    uint64_t bits = 0;
    int32_t i = 0;
    for (; i + 32 <= count; i += 32) {
        __m256i below = _mm256_packs_epi16(below_16(in + i, least + i), below_16(in + i + 16, least + i + 16));
        below = _mm256_permute4x64_epi64(below, 0xd8);
        bits |= (uint64_t)(uint32_t)~_mm256_movemask_epi8(below) << i;
    }
    return i < count ? bits | (uint64_t)signs_of_32(in + i, least + i, count - i) << i : bits;
}
#else
static uint64_t signs_of(const int8_t *in, const int16_t *least, int32_t count)
{
    uint64_t low = signs_of_32(in, least, count);
    return count > 32 ? low | (uint64_t)signs_of_32(in + 32, least + 32, count - 32) << 32 : low;
}
#endif
#endif

static void run_sign(const int8_t *in, int32_t pixels, int32_t channels, const int16_t *least, uint64_t *out)
{
    for (int32_t pixel = 0; pixel < pixels; pixel++) {
        for (int32_t first = 0; first < channels; first += 64) {
            int32_t count = channels - first < 64 ? channels - first : 64;
            *out++ = signs_of(in, least + first, count);
            in += count;
        }
    }
}
