/* A vector of 64-bit Arm: 128 samples. */
#include <arm_neon.h>

enum { VALUE_WORDS = 2 };
typedef uint64x2_t value;

static value filled(uint64_t bits)
{
    return vdupq_n_u64(bits);
}

MAY_BE_UNUSED static value both(value a, value b)
{
    return vandq_u64(a, b);
}

MAY_BE_UNUSED static value either(value a, value b)
{
    return vorrq_u64(a, b);
}

static value differ(value a, value b)
{
    return veorq_u64(a, b);
}

MAY_BE_UNUSED static value without(value a, value b)
{
    return vbicq_u64(a, b);
}
