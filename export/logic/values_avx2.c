/* A vector of AVX2: 256 samples. */
#include <immintrin.h>

enum { VALUE_WORDS = 4 };
typedef __m256i value;

static value filled(uint64_t bits)
{
    return _mm256_set1_epi64x((int64_t)bits);
}

MAY_BE_UNUSED static value both(value a, value b)
{
    return _mm256_and_si256(a, b);
}

MAY_BE_UNUSED static value either(value a, value b)
{
    return _mm256_or_si256(a, b);
}

static value differ(value a, value b)
{
    return _mm256_xor_si256(a, b);
}

MAY_BE_UNUSED static value without(value a, value b)
{
    return _mm256_andnot_si256(b, a);
}
