/* Channels, [channel][position] in memory, in groups: each group less its mean, over its standard deviation. */
static void run_group_norm(int32_t batch, int32_t groups, int32_t channels, int32_t positions, float epsilon,
                           const float *weights, const float *bias, const float *in, float *out)
{
    int32_t size = channels * positions;
    for (int32_t group = 0; group < batch * groups; group++, in += size, out += size) {
        float mean = 0.0f, variance = 0.0f;
        for (int32_t i = 0; i < size; i++)
            mean += in[i];
        mean /= (float)size;
        for (int32_t i = 0; i < size; i++)
            variance += (in[i] - mean) * (in[i] - mean);
        float scale = 1.0f / sqrtf(variance / (float)size + epsilon);
        for (int32_t i = 0; i < size; i++) {
            int32_t channel = group % groups * channels + i / positions;
            out[i] = (in[i] - mean) * scale * (weights ? weights[channel] : 1.0f) + (bias ? bias[channel] : 0.0f);
        }
    }
}
