/* in[rows][inputs] to out[rows][outputs]. */
static void run_linear_int8(const linear_int8 *layer, int32_t rows, const int8_t *in, int8_t *out)
{
    int32_t padded = (layer->inputs + 3) & ~3;
    for (int32_t first = 0; first < layer->outputs; first += OUTPUTS_AT_ONCE) {
        int32_t left = layer->outputs - first, space[OUTPUTS_AT_ONCE];
        matrix_int8 slice = {layer->weights + first * padded,
                             layer->bias + first,
                             layer->multiplier + first,
                             left < OUTPUTS_AT_ONCE ? left : OUTPUTS_AT_ONCE, 1, layer->inputs, rows,
                             layer->zero_out, layer->low, layer->high};
        slice.bias = prepare_bias(&slice, space);
        run_rows(&slice, rows, in, out + first, layer->outputs, 0);
    }
}
