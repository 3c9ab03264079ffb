typedef struct {
    geometry shape;
    int32_t divisor; /* as pool_window_at() takes it */
} average_pool_float;

static void run_average_pool_float(const average_pool_float *layer, const float *in, float *out)
{
    const geometry *g = &layer->shape;
    for (int32_t oy = 0; oy < g->out_height; oy++)
        for (int32_t ox = 0; ox < g->out_width; ox++, out += g->channels) {
            pool_window window = pool_window_at(g, layer->divisor, oy, ox);
            for (int32_t c = 0; c < g->channels; c++)
                out[c] = 0.0f;
            for (int32_t y = 0; y < window.rows; y++)
                for (int32_t x = 0; x < window.columns; x++)
                    for (int32_t c = 0; c < g->channels; c++)
                        out[c] += in[(window.first + y * g->width + x) * g->channels + c];
            for (int32_t c = 0; c < g->channels; c++)
                out[c] /= (float)window.count;
        }
}
