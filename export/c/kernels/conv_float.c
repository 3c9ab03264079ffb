typedef struct {
    geometry shape;
    int32_t groups;
    const float *weights; /* [group][kernel row][kernel column][input of the group][output of the group] */
    const float *bias;    /* for each output channel, or NULL */
} conv_float;

/* Adds `inputs` channels of one tap to the outputs that read them. */
static void add_tap(const float *from, const float *weights, int32_t inputs, int32_t outputs, float *out)
{
    for (int32_t c = 0; c < inputs; c++, weights += outputs)
        for (int32_t o = 0; o < outputs; o++)
            out[o] += from[c] * weights[o];
}

/* The same where every channel is a group of its own: weights of one tap lie `taps` apart. */
static void add_depthwise_tap(const float *from, const float *weights, int32_t taps, int32_t channels, float *out)
{
    for (int32_t c = 0; c < channels; c++)
        out[c] += from[c] * weights[c * taps];
}

/* Padding adds nothing. */
static void run_conv_float(const conv_float *layer, const float *in, float *out)
{
    const geometry *g = &layer->shape;
    int32_t inputs = g->channels / layer->groups, outputs = g->out_channels / layer->groups;
    int32_t taps = g->kernel_height * g->kernel_width;
    for (int32_t oy = 0; oy < g->out_height; oy++)
        for (int32_t ox = 0; ox < g->out_width; ox++, out += g->out_channels) {
            for (int32_t o = 0; o < g->out_channels; o++)
                out[o] = layer->bias ? layer->bias[o] : 0.0f;
            for (int32_t tap = 0; tap < taps; tap++) {
                int32_t y = oy * g->stride_height - g->pad_top + tap / g->kernel_width * g->dilation_height;
                int32_t x = ox * g->stride_width - g->pad_left + tap % g->kernel_width * g->dilation_width;
                if (y < 0 || y >= g->height || x < 0 || x >= g->width)
                    continue;
                const float *from = in + (y * g->width + x) * g->channels;
                if (inputs == 1 && outputs == 1) {
                    add_depthwise_tap(from, layer->weights + tap, taps, g->channels, out);
                    continue;
                }
                for (int32_t group = 0; group < layer->groups; group++)
                    add_tap(from + group * inputs, layer->weights + (group * taps + tap) * inputs * outputs, inputs,
                            outputs, out + group * outputs);
            }
        }
}
