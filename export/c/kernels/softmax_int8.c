/* Softmax along the middle of [outer][length][inner]; codes of the result mean (code + 128) / 256. */
static void run_softmax_int8(const uint32_t *exponentials, int32_t outer, int32_t length, int32_t inner,
                             const int8_t *in, int8_t *out)
{
    for (int32_t o = 0; o < outer; o++, in += length * inner, out += length * inner)
        for (int32_t i = 0; i < inner; i++) {
            int32_t largest = -128;
            uint32_t sum = 0;
            for (int32_t k = 0; k < length; k++)
                largest = in[k * inner + i] > largest ? in[k * inner + i] : largest;
            for (int32_t k = 0; k < length; k++)
                sum += exponentials[largest - in[k * inner + i]];
            float factor = 256.0f / (float)sum;
            for (int32_t k = 0; k < length; k++) {
                int32_t e = (int32_t)exponentials[largest - in[k * inner + i]];
                out[k * inner + i] = requantize(e, factor, -128, -128, 127);
            }
        }
}
