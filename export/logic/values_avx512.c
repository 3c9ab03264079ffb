/* A vector of AVX-512: 512 samples. Every gate is a single instruction there. */
#include <immintrin.h>

enum { VALUE_WORDS = 8 };
typedef __m512i value;

static value filled(uint64_t bits)
{
    return _mm512_set1_epi64((int64_t)bits);
}

static value differ(value a, value b)
{
    return _mm512_xor_si512(a, b);
}
