/* A compiler may fuse a product with the addition behind it and then rounds once instead of twice. This holds the
   product back, so that every processor computes the same codes. */
#if defined(__GNUC__) && defined(__arm__) && defined(__ARM_FP)
#define ROUND_PRODUCT(x) __asm__("" : "+t"(x))
#elif defined(__SSE4_1__) || defined(__aarch64__)
#define ROUND_PRODUCT(x) ((void)(x)) /* what follows is a rounding instruction, not an addition */
#elif defined(__GNUC__) && defined(__x86_64__)
#define ROUND_PRODUCT(x) __asm__("" : "+x"(x))
#elif defined(__GNUC__) && defined(__arm__)
#define ROUND_PRODUCT(x) __asm__("" : "+r"(x))
#else
#define ROUND_PRODUCT(x) do { volatile float held = (x); (x) = held; } while (0)
#endif

/* A whole number within +-2^22, rounded half to even. */
MAY_BE_UNUSED static inline int32_t round_half_even(float x)
{
#if defined(__SSE4_1__) || defined(__aarch64__)
    return (int32_t)__builtin_rintf(x);
#else
    float shifted = x + 12582912.0f; /* 1.5 * 2^23 leaves no room for a fraction */
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits - 0x4b400000;
#endif
}

/* The code of a sum: sum * multiplier in float32, rounded half to even, clamped to [low, high]. */
MAY_BE_UNUSED static inline int8_t requantize(int32_t sum, float multiplier, int32_t zero, int32_t low, int32_t high)
{
    float scaled = (float)sum * multiplier;
    float least = (float)(low - zero), most = (float)(high - zero);
    ROUND_PRODUCT(scaled);
    scaled = scaled > least ? scaled : least;
    scaled = scaled < most ? scaled : most;
    return (int8_t)(round_half_even(scaled) + zero);
}
