#include <arm_neon.h>

/* Four patches by eight outputs. With the dot-product instructions a quad is one product per output; otherwise its
   products of 16 bits are added in pairs, and an output has two sums. */
enum { TILE_PATCHES = 4 };

#if defined(__ARM_FEATURE_DOTPROD)

/* Sums of four outputs. */
typedef struct {
    int32x4_t sums;
} four_sums;

static inline four_sums no_sums(void)
{
    four_sums none = {vdupq_n_s32(0)};
    return none;
}

static inline four_sums add_quad(four_sums s, int8x16_t x, int8x16_t w)
{
    s.sums = vdotq_s32(s.sums, w, x);
    return s;
}

static inline int32x4_t total(four_sums s)
{
    return s.sums;
}

#else

/* Two sums for each of four outputs. */
typedef struct {
    int32x4_t low, high;
} four_sums;

static inline four_sums no_sums(void)
{
    four_sums none = {vdupq_n_s32(0), vdupq_n_s32(0)};
    return none;
}

static inline four_sums add_quad(four_sums s, int8x16_t x, int8x16_t w)
{
    s.low = vpadalq_s16(s.low, vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    s.high = vpadalq_s16(s.high, vmull_high_s8(w, x));
    return s;
}

static inline int32x4_t total(four_sums s)
{
    return vpaddq_s32(s.low, s.high);
}

#endif

/* The sums of four outputs for each patch of a tile. */
typedef struct {
    four_sums a, b, c, d;
} tile_sums;

/* A quad of each patch, for every output. */
typedef struct {
    int8x16_t a, b, c, d;
} tile_quads;

static inline int8x16_t load_quad(const int8_t *x)
{
    int32_t quad;
    memcpy(&quad, x, sizeof quad);
    return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}

/* A quad of which only some bytes may be read. */
static inline int8x16_t load_part(const int8_t *x, int32_t bytes)
{
    int8_t quad[4] = {0};
    for (int32_t i = 0; i < bytes; i++)
        quad[i] = x[i];
    return load_quad(quad);
}

static inline tile_sums add_quads(tile_sums s, tile_quads x, int8x16_t w)
{
    s.a = add_quad(s.a, x.a, w);
    s.b = add_quad(s.b, x.b, w);
    s.c = add_quad(s.c, x.c, w);
    s.d = add_quad(s.d, x.d, w);
    return s;
}

/* Signed products need no other biases than the layer's. */
static const int32_t *prepare_bias(const matrix_int8 *m, int32_t *space)
{
    (void)space;
    return m->bias;
}

/* out[count]: the codes of up to four sums. */
static inline void store_codes(const matrix_int8 *m, int32x4_t sums, int32_t first, int32_t count, int8_t *out)
{
    float32x4_t scaled = vmulq_f32(vcvtq_f32_s32(sums), vld1q_f32(m->multiplier + first));
    scaled = vmaxq_f32(scaled, vdupq_n_f32((float)(m->low - m->zero)));
    scaled = vminq_f32(scaled, vdupq_n_f32((float)(m->high - m->zero)));
    int16x4_t codes = vmovn_s32(vaddq_s32(vcvtnq_s32_f32(scaled), vdupq_n_s32(m->zero)));
    int8_t bytes[8];
    vst1_s8(bytes, vmovn_s16(vcombine_s16(codes, codes)));
    if (count >= 4)
        memcpy(out + first, bytes, 4);
    else
        memcpy(out + first, bytes, (size_t)count);
}

/* Four outputs from `first` on, for `count` patches. */
static inline void store_four(const matrix_int8 *m, tile_sums s, int32_t first, int32_t count, int8_t *out,
                              int32_t out_step)
{
    const int32x4_t bias = vld1q_s32(m->bias + first);
    const int32_t outputs = m->outputs - first;
    store_codes(m, vaddq_s32(bias, total(s.a)), first, outputs, out);
    if (count > 1)
        store_codes(m, vaddq_s32(bias, total(s.b)), first, outputs, out + out_step);
    if (count > 2)
        store_codes(m, vaddq_s32(bias, total(s.c)), first, outputs, out + 2 * out_step);
    if (count > 3)
        store_codes(m, vaddq_s32(bias, total(s.d)), first, outputs, out + 3 * out_step);
}

/* Four or eight outputs of four patches. `w` are their weights, a quad's `step` bytes from the next one's. What is left
   of runs that fill no quad comes first: only a linear layer has it, whose patches are one run. */
static inline __attribute__((always_inline)) void multiply_outputs(const matrix_int8 *m, const patch_int8 *patch,
                                                                   const int outputs, int32_t first, const int8_t *w,
                                                                   size_t step, int32_t count, int8_t *out,
                                                                   int32_t out_step)
{
    const int8_t *x[4] = {patch[0].codes, patch[1].codes, patch[2].codes, patch[3].codes};
    const size_t whole = (size_t)(m->length & ~3);
    const int32_t rest = m->length & 3;
    tile_sums s = {no_sums(), no_sums(), no_sums(), no_sums()}, t = s;
    if (rest) {
        const int8_t *last = w + whole / 4 * step;
        tile_quads quads = {load_part(x[0] + whole, rest), load_part(x[1] + whole, rest), load_part(x[2] + whole, rest),
                            load_part(x[3] + whole, rest)};
        s = add_quads(s, quads, vld1q_s8(last));
        if (outputs == 8)
            t = add_quads(t, quads, vld1q_s8(last + 16));
    }
    for (int32_t segment = 0; segment < m->segments; segment++) {
        for (size_t offset = 0; offset < whole; offset += 4, w += step) {
            tile_quads quads = {load_quad(x[0] + offset), load_quad(x[1] + offset), load_quad(x[2] + offset),
                                load_quad(x[3] + offset)};
            s = add_quads(s, quads, vld1q_s8(w));
            if (outputs == 8)
                t = add_quads(t, quads, vld1q_s8(w + 16));
        }
        x[0] += patch[0].step;
        x[1] += patch[1].step;
        x[2] += patch[2].step;
        x[3] += patch[3].step;
    }
    store_four(m, s, first, count, out, out_step);
    if (outputs == 8)
        store_four(m, t, first + 4, count, out, out_step);
}

/* out[count][out_step]: the codes of up to OUTPUTS_AT_ONCE outputs of the first `count` of TILE_PATCHES patches. */
static void multiply_int8(const matrix_int8 *m, const patch_int8 *patches, int32_t count, int8_t *out, int32_t out_step,
                          void *scratch)
{
    const int32_t padded = m->segments * ((m->length + 3) & ~3);
    (void)scratch;
    for (int32_t first = 0; first < m->outputs; first += 8) {
        int32_t left = m->outputs - (first & ~15), width = left < 16 ? (left + 3) & ~3 : 16;
        const int8_t *w = m->weights + (first & ~15) * padded + 4 * (first & 15);
        if (width - (first & 15) == 4)
            multiply_outputs(m, patches, 4, first, w, 4 * (size_t)width, count, out, out_step);
        else
            multiply_outputs(m, patches, 8, first, w, 4 * (size_t)width, count, out, out_step);
    }
}
