enum { TILE_PATCHES = 1 };

/* Adds the products of four inputs with the weights of four outputs. */
static inline void add_quads(int32_t *sums, const int8_t *x, const int8_t *w)
{
    int32_t a = x[0], b = x[1], c = x[2], d = x[3];
    sums[0] += a * w[0] + b * w[1] + c * w[2] + d * w[3];
    sums[1] += a * w[4] + b * w[5] + c * w[6] + d * w[7];
    sums[2] += a * w[8] + b * w[9] + c * w[10] + d * w[11];
    sums[3] += a * w[12] + b * w[13] + c * w[14] + d * w[15];
}

/* The sums of four outputs; `width` outputs share a block, so the next quad of weights is 4 * width further. */
static void sum_four_outputs(const matrix_int8 *m, patch_int8 patch, const int8_t *w, int32_t width, int32_t *sums)
{
    for (int32_t segment = 0; segment < m->segments; segment++) {
        const int8_t *x = patch.codes, *end = x + (m->length & ~3);
        for (; x != end; x += 4, w += 4 * width)
            add_quads(sums, x, w);
        if (m->length & 3) {
            int8_t rest[4] = {0};
            for (int32_t i = 0; i < (m->length & 3); i++)
                rest[i] = x[i];
            add_quads(sums, rest, w);
            w += 4 * width;
        }
        patch.codes += patch.step;
    }
}

/* Signed products need no other biases than the layer's. */
static const int32_t *prepare_bias(const matrix_int8 *m, int32_t *space)
{
    (void)space;
    return m->bias;
}

/* out[outputs]: the codes of one patch. Neither a second patch nor scratch is of use to plain loops. */
static void multiply_int8(const matrix_int8 *m, const patch_int8 *patches, int32_t count, int8_t *out, int32_t out_step,
                          void *scratch)
{
    int32_t quads = m->segments * ((m->length + 3) / 4);
    const int8_t *block = m->weights;
    (void)count, (void)out_step, (void)scratch;
    for (int32_t first = 0; first < m->outputs; first += 16) {
        int32_t left = m->outputs - first, width = left < 16 ? (left + 3) & ~3 : 16;
        for (int32_t lane = 0; lane < width; lane += 4) {
            int32_t output = first + lane, sums[4];
            memcpy(sums, m->bias + output, sizeof sums);
            sum_four_outputs(m, patches[0], block + 4 * lane, width, sums);
            for (int32_t i = 0; i < 4 && output + i < m->outputs; i++)
                out[output + i] = requantize(sums[i], m->multiplier[output + i], m->zero, m->low, m->high);
        }
        block += 4 * width * quads;
    }
}
