typedef struct {
    geometry shape;
    int32_t divisor; /* as pool_window_at() takes it */
    float ratio;     /* of the scales; a mean's multiplier is ratio / count */
    int32_t zero_in, zero_out, low, high;
} average_pool_int8;

enum { POOLED_AT_ONCE = 64 };

/* Adds up to POOLED_AT_ONCE channels over a window. */
static void add_window(const geometry *g, const pool_window *window, const int8_t *in, int32_t channels, int32_t *sums)
{
    for (int32_t y = 0; y < window->rows; y++)
        for (int32_t x = 0; x < window->columns; x++) {
            const int8_t *from = in + (window->first + y * g->width + x) * g->channels;
            for (int32_t c = 0; c < channels; c++)
                sums[c] += from[c];
        }
}

static void run_average_pool_int8(const average_pool_int8 *layer, const int8_t *in, int8_t *out)
{
    const geometry *g = &layer->shape;
    for (int32_t oy = 0; oy < g->out_height; oy++)
        for (int32_t ox = 0; ox < g->out_width; ox++) {
            pool_window window = pool_window_at(g, layer->divisor, oy, ox);
            float multiplier = layer->ratio / (float)window.count;
            for (int32_t first = 0; first < g->channels; first += POOLED_AT_ONCE) {
                int32_t channels = smaller(g->channels - first, POOLED_AT_ONCE), sums[POOLED_AT_ONCE];
                for (int32_t c = 0; c < channels; c++)
                    sums[c] = -window.rows * window.columns * layer->zero_in;
                add_window(g, &window, in + first, channels, sums);
                for (int32_t c = 0; c < channels; c++)
                    *out++ = requantize(sums[c], multiplier, layer->zero_out, layer->low, layer->high);
            }
        }
}
