/* Codes of `channels` output channels (up to 64) from their counts. `products` are those inside the image. */
static void codes_of_counts(const conv_binary_int8 *layer, int32_t channel, int32_t channels, int32_t products,
                            const int32_t *counts, int8_t *out)
{
    for (int32_t i = 0; i < channels; i++) {
        int32_t sum = products - 2 * counts[i] + layer->bias[channel + i];
        out[i] = requantize(sum, layer->multiplier[channel + i], layer->zero, layer->low, layer->high);
    }
}
