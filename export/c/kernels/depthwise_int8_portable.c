/* Where the codes of a window's row lie: those of the pixel at x are in[offset + x * channels]. The row is empty if it
   lies above or below the image. */
typedef struct {
    int32_t offset, width;
} image_row;

static inline image_row row_at(const geometry *g, int32_t y)
{
    image_row row = {y * g->width * g->channels, y >= 0 && y < g->height ? g->width : 0};
    return row;
}

static inline void store_code(const conv_int8 *layer, int32_t sum, int32_t channel, int8_t *out)
{
    out[channel] = requantize(sum, layer->multiplier[channel], layer->zero_out, layer->low, layer->high);
}

/* Four neighbouring channels of the pixel whose window starts at (top, left). */
static void run_four_channels(const conv_int8 *layer, const int8_t *in, int32_t top, int32_t left, int32_t channel,
                              int8_t *out)
{
    const geometry *g = &layer->shape;
    const int8_t zero = (int8_t)layer->zero_in, beside[4] = {zero, zero, zero, zero}, *w = layer->weights + channel;
    const int32_t channels = g->channels, *bias = layer->bias + channel;
    int32_t a = bias[0], b = bias[1], c = bias[2], d = bias[3];
    for (int32_t ky = 0; ky < g->kernel_height; ky++) {
        const image_row row = row_at(g, top + ky * g->dilation_height);
        int32_t x = left;
        for (int32_t kx = g->kernel_width; kx > 0; kx--, x += g->dilation_width, w += channels) {
            const int8_t *codes = beside;
            if (x >= 0 && x < row.width)
                codes = in + row.offset + x * channels + channel;
            a += codes[0] * w[0];
            b += codes[1] * w[1];
            c += codes[2] * w[2];
            d += codes[3] * w[3];
        }
    }
    store_code(layer, a, channel, out);
    store_code(layer, b, channel + 1, out);
    store_code(layer, c, channel + 2, out);
    store_code(layer, d, channel + 3, out);
}

/* The same for one channel. */
static void run_one_channel(const conv_int8 *layer, const int8_t *in, int32_t top, int32_t left, int32_t channel,
                            int8_t *out)
{
    const geometry *g = &layer->shape;
    const int8_t *w = layer->weights + channel;
    int32_t sum = layer->bias[channel];
    for (int32_t ky = 0; ky < g->kernel_height; ky++) {
        const image_row row = row_at(g, top + ky * g->dilation_height);
        int32_t x = left;
        for (int32_t kx = g->kernel_width; kx > 0; kx--, x += g->dilation_width, w += g->channels) {
            int32_t code = layer->zero_in;
            if (x >= 0 && x < row.width)
                code = in[row.offset + x * g->channels + channel];
            sum += code * *w;
        }
    }
    store_code(layer, sum, channel, out);
}

/* in[height][width][channels] to out[out_height][out_width][channels], every channel with a kernel of its own. */
static void run_depthwise_int8(const conv_int8 *layer, const int8_t *in, int8_t *out)
{
    const geometry *g = &layer->shape;
    for (int32_t y = 0; y < g->out_height; y++) {
        for (int32_t x = 0; x < g->out_width; x++, out += g->channels) {
            int32_t top = y * g->stride_height - g->pad_top, left = x * g->stride_width - g->pad_left, channel = 0;
            for (; channel + 4 <= g->channels; channel += 4)
                run_four_channels(layer, in, top, left, channel, out);
            for (; channel < g->channels; channel++)
                run_one_channel(layer, in, top, left, channel, out);
        }
    }
}
