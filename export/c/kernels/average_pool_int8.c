typedef struct {
    geometry shape;
    int32_t divisor; /* 0: as many positions as the window has in the padded image; -1: in the image */
    float ratio;     /* of the scales; a mean's multiplier is ratio / count */
    int32_t zero_in, zero_out, low, high;
} average_pool_int8;

enum { POOLED_AT_ONCE = 64 };

/* Adds up to POOLED_AT_ONCE channels over the rows and columns of a window. */
static void add_window(const geometry *g, const int8_t *in, int32_t rows, int32_t columns, int32_t channels,
                       int32_t *sums)
{
    for (int32_t y = 0; y < rows; y++)
        for (int32_t x = 0; x < columns; x++) {
            const int8_t *from = in + (y * g->width + x) * g->channels;
            for (int32_t c = 0; c < channels; c++)
                sums[c] += from[c];
        }
}

static void run_average_pool_int8(const average_pool_int8 *layer, const int8_t *in, int8_t *out)
{
    const geometry *g = &layer->shape;
    for (int32_t oy = 0; oy < g->out_height; oy++) {
        int32_t top = oy * g->stride_height - g->pad_top;
        int32_t bottom = smaller(top + g->kernel_height, g->height + g->pad_top);
        int32_t y0 = larger(top, 0), y1 = smaller(bottom, g->height);
        for (int32_t ox = 0; ox < g->out_width; ox++) {
            int32_t left = ox * g->stride_width - g->pad_left;
            int32_t right = smaller(left + g->kernel_width, g->width + g->pad_left);
            int32_t x0 = larger(left, 0), x1 = smaller(right, g->width);
            int32_t inside = (y1 - y0) * (x1 - x0);
            int32_t count = layer->divisor > 0 ? layer->divisor
                          : layer->divisor < 0 ? inside : (bottom - top) * (right - left);
            float multiplier = layer->ratio / (float)count;
            for (int32_t first = 0; first < g->channels; first += POOLED_AT_ONCE) {
                int32_t channels = smaller(g->channels - first, POOLED_AT_ONCE), sums[POOLED_AT_ONCE];
                for (int32_t c = 0; c < channels; c++)
                    sums[c] = -inside * layer->zero_in;
                add_window(g, in + (y0 * g->width + x0) * g->channels + first, y1 - y0, x1 - x0, channels, sums);
                for (int32_t c = 0; c < channels; c++)
                    *out++ = requantize(sums[c], multiplier, layer->zero_out, layer->low, layer->high);
            }
        }
    }
}
