/* in[rows][inputs] times weights[outputs][inputs] transposed, plus bias where there is one, to out[rows][outputs]. */
static void run_linear_float(int32_t rows, int32_t inputs, int32_t outputs, const float *weights, const float *bias,
                             const float *in, float *out)
{
    for (int32_t row = 0; row < rows; row++, in += inputs)
        for (int32_t o = 0; o < outputs; o++) {
            float sum = bias ? bias[o] : 0.0f;
            for (int32_t k = 0; k < inputs; k++)
                sum += in[k] * weights[o * inputs + k];
            *out++ = sum;
        }
}
