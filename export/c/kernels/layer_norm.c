/* Each row less its mean, over its standard deviation; weights and biases of the columns where there are some. */
static void run_layer_norm(int32_t rows, int32_t width, float epsilon, const float *weights, const float *bias,
                           const float *in, float *out)
{
    for (int32_t row = 0; row < rows; row++, in += width, out += width) {
        float mean = 0.0f, variance = 0.0f;
        for (int32_t i = 0; i < width; i++)
            mean += in[i];
        mean /= (float)width;
        for (int32_t i = 0; i < width; i++)
            variance += (in[i] - mean) * (in[i] - mean);
        float scale = 1.0f / sqrtf(variance / (float)width + epsilon);
        for (int32_t i = 0; i < width; i++)
            out[i] = (in[i] - mean) * scale * (weights ? weights[i] : 1.0f) + (bias ? bias[i] : 0.0f);
    }
}
