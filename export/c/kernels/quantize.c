/* The code of a real number; what is no number gets the least code. */
static inline int8_t quantize(float x, float steps, int32_t zero, int32_t low, int32_t high)
{
    float scaled = x * steps;
    float least = (float)(low - zero), most = (float)(high - zero);
    ROUND_PRODUCT(scaled);
    scaled = scaled > least ? scaled : least;
    scaled = scaled > most ? most : scaled;
    return (int8_t)(round_half_even(scaled) + zero);
}
