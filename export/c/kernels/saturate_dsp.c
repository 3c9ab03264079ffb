#include <arm_acle.h>

/* As requantize() does it, over all codes, in the rounding mode that processors start with. */
MAY_BE_UNUSED static inline int8_t saturated_code(int32_t sum, float multiplier, int32_t zero)
{
#if defined(__ARM_FP)
    float scaled = (float)sum * multiplier, rounded;
    int32_t code, saturated;
    __asm__("vcvtr.s32.f32 %0, %1" : "=t"(rounded) : "t"(scaled));
    memcpy(&code, &rounded, sizeof code);
    __asm__("ssat %0, #8, %1" : "=r"(saturated) : "r"(__qadd(code, zero)));
    return (int8_t)saturated;
#else
    return requantize(sum, multiplier, zero, -128, 127);
#endif
}
