/* Softmax along the middle of [outer][length][inner]. */
static void run_softmax_float(int32_t outer, int32_t length, int32_t inner, const float *in, float *out)
{
    for (int32_t o = 0; o < outer; o++, in += length * inner, out += length * inner)
        for (int32_t i = 0; i < inner; i++) {
            float largest = in[i], sum = 0.0f;
            for (int32_t k = 1; k < length; k++)
                largest = fmaxf(largest, in[k * inner + i]);
            for (int32_t k = 0; k < length; k++) {
                out[k * inner + i] = expf(in[k * inner + i] - largest);
                sum += out[k * inner + i];
            }
            for (int32_t k = 0; k < length; k++)
                out[k * inner + i] /= sum;
        }
}
