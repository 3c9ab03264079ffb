/* PReLU of a code less its zero point. */
static inline int8_t slope(int32_t x, float above, float below, int32_t zero, int32_t low, int32_t high)
{
    return requantize(x, x >= 0 ? above : below, zero, low, high);
}
