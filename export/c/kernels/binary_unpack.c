/* Bits to the codes -1 and +1. */
static void run_unpack(const uint64_t *in, int32_t pixels, int32_t channels, int8_t *out)
{
    for (int32_t pixel = 0; pixel < pixels; pixel++) {
        for (int32_t first = 0; first < channels; first += 64) {
            int32_t count = channels - first < 64 ? channels - first : 64;
            uint64_t bits = *in++;
            for (int32_t i = 0; i < count; i++)
                *out++ = (int8_t)(2 * (int32_t)(bits >> i & 1) - 1);
        }
    }
}
