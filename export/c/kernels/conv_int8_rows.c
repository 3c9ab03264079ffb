/* Field by field: a structure copied right after it was written would wait for its parts to reach memory. */
static inline void set_half(patch_int8 *half, const int8_t *codes, int32_t step, int32_t next)
{
    half->codes = codes;
    half->step = step;
    half->next = next;
}

/* The halves of a tile that is evenly spaced as a whole. */
static inline void set_halves(patch_int8 *halves, const int8_t *codes, int32_t count, int32_t step, int32_t next)
{
    set_half(halves, codes, step, next);
    set_half(halves + 1, codes + (count > 4 ? count - 4 : 0) * next, step, next);
}

/* Patches that lie one behind the other: rows of a linear layer, pixels of a convolution by 1x1. Without scratch, a
   kernel that would widen them takes them one by one. */
static void run_rows(const matrix_int8 *matrix, int32_t rows, const int8_t *in, int8_t *out, int32_t out_step,
                     void *scratch)
{
    const int32_t length = matrix->length;
    while (rows > 0) {
        patch_int8 patches[TILE_PATCHES];
        int32_t count = rows < TILE_PATCHES ? rows : TILE_PATCHES;
        if (TILE_PATCHES == 8) {
            set_halves(patches, in, count, 0, length);
        } else {
            for (int32_t i = 0; i < TILE_PATCHES; i++)
                patches[i] = (patch_int8){in + (i < count ? i * length : 0), 0, 0};
        }
        multiply_int8(matrix, patches, count, out, out_step, scratch);
        in += count * length;
        out += count * out_step;
        rows -= count;
    }
}
