#include <immintrin.h>

/* Eight outputs of four patches at a time. Where the processor has VNNI, a quad is one product per output; VNNI
   multiplies unsigned by signed bytes, so activations get their sign bits flipped, which adds 128, and the biases take
   128 * (sum of the weights) off again. Otherwise quads are widened to 16 bits and leave two sums of pairs each. */
enum { TILE_PATCHES = 4 };

typedef int32_t eight __attribute__((vector_size(32)));

/* Sums of eight outputs: of even and of odd quads with VNNI, otherwise pairs of outputs 0-3 and of outputs 4-7. */
typedef struct {
    eight low, high;
} eight_sums;

/* The sums of a tile, one for each patch. */
typedef struct {
    eight_sums a, b, c, d;
} tile_sums;

static inline __m128i load_sixteen_bytes(const void *from)
{
    return _mm_loadu_si128((const __m128i *)from);
}

static inline int32_t load_quad(const int8_t *x)
{
    int32_t quad;
    memcpy(&quad, x, sizeof quad);
    return quad;
}

static inline eight load_eight(const int32_t *from)
{
    return (eight)_mm256_loadu_si256((const __m256i *)(const void *)from);
}

#if defined(__AVXVNNI__)

typedef struct {
    __m256i quads;
} eight_weights;

static inline eight_weights load_weights(const int8_t *w, int32_t half)
{
    eight_weights weights;
    if (half)
        weights.quads = _mm256_zextsi128_si256(load_sixteen_bytes(w));
    else
        weights.quads = _mm256_loadu_si256((const __m256i *)(const void *)w);
    return weights;
}

static inline eight_sums add_quad(eight_sums sums, int32_t quad, eight_weights w, const int odd)
{
    __m256i x = _mm256_xor_si256(_mm256_set1_epi32(quad), _mm256_set1_epi8(-128));
    if (odd)
        sums.high = (eight)_mm256_dpbusd_avx_epi32((__m256i)sums.high, x, w.quads);
    else
        sums.low = (eight)_mm256_dpbusd_avx_epi32((__m256i)sums.low, x, w.quads);
    return sums;
}

static inline eight total(eight_sums sums)
{
    return sums.low + sums.high;
}

/* 128 times the sum of each output's weights. */
static inline eight shift_of(const int8_t *w, int32_t quads, int32_t step, int32_t half)
{
    eight_sums shift = {{0}, {0}};
    for (; quads > 1; quads -= 2, w += 2 * step) {
        shift = add_quad(shift, 0, load_weights(w, half), 0);
        shift = add_quad(shift, 0, load_weights(w + step, half), 1);
    }
    if (quads)
        shift = add_quad(shift, 0, load_weights(w, half), 0);
    return total(shift);
}

#else

typedef struct {
    __m256i low, high;
} eight_weights;

static inline eight_weights load_weights(const int8_t *w, int32_t half)
{
    eight_weights weights;
    weights.low = _mm256_cvtepi8_epi16(load_sixteen_bytes(w));
    weights.high = half ? weights.low : _mm256_cvtepi8_epi16(load_sixteen_bytes(w + 16));
    return weights;
}

static inline eight_sums add_quad(eight_sums sums, int32_t quad, eight_weights w, const int odd)
{
    __m256i x = _mm256_cvtepi8_epi16(_mm_set1_epi32(quad));
    (void)odd;
    sums.low += (eight)_mm256_madd_epi16(x, w.low);
    sums.high += (eight)_mm256_madd_epi16(x, w.high);
    return sums;
}

static inline eight total(eight_sums sums)
{
    __m256i mixed = _mm256_hadd_epi32((__m256i)sums.low, (__m256i)sums.high);
    return (eight)_mm256_permute4x64_epi64(mixed, _MM_SHUFFLE(3, 1, 2, 0));
}

static inline eight shift_of(const int8_t *w, int32_t quads, int32_t step, int32_t half)
{
    const eight none = {0};
    (void)w, (void)quads, (void)step, (void)half;
    return none;
}

#endif

/* How many outputs a block has that starts with this one, rounded up to what its weights fill. */
static inline int32_t width_of_block(const matrix_int8 *m, int32_t first)
{
    int32_t left = m->outputs - (first & ~15);
    return left < 16 ? (left + 3) & ~3 : 16;
}

/* The weights of an output: blocks of 16 outputs, quads of a block, outputs of a quad. */
static inline const int8_t *weights_of(const matrix_int8 *m, int32_t output)
{
    int32_t padded = m->segments * ((m->length + 3) & ~3);
    return m->weights + (output & ~15) * padded + 4 * (output & 15);
}

/* The biases of a matrix of up to OUTPUTS_AT_ONCE outputs, less what unsigned activations add. */
static const int32_t *prepare_bias(const matrix_int8 *m, int32_t *space)
{
    int32_t quads = m->segments * ((m->length + 3) / 4);
    memset(space, 0, OUTPUTS_AT_ONCE * sizeof *space);
    memcpy(space, m->bias, (size_t)((m->outputs + 3) & ~3) * sizeof *space);
    for (int32_t first = 0; first < m->outputs; first += 8) {
        int32_t width = width_of_block(m, first), half = width - (first & 15) == 4;
        eight bias = load_eight(space + first) - shift_of(weights_of(m, first), quads, 4 * width, half);
        _mm256_storeu_si256((__m256i *)(void *)(space + first), (__m256i)bias);
    }
    return space;
}

/* out[count]: the codes of up to eight sums. */
static inline void store_codes(const matrix_int8 *m, eight sums, __m256 multiplier, int8_t *out, int32_t count)
{
    __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps((__m256i)sums), multiplier);
    scaled = _mm256_max_ps(scaled, _mm256_set1_ps((float)(m->low - m->zero)));
    scaled = _mm256_min_ps(scaled, _mm256_set1_ps((float)(m->high - m->zero)));
    __m256i codes = _mm256_add_epi32(_mm256_cvtps_epi32(scaled), _mm256_set1_epi32(m->zero));
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
    int8_t bytes[16];
    _mm_storeu_si128((__m128i *)(void *)bytes, _mm_packs_epi16(words, words));
    if (count >= 8)
        memcpy(out, bytes, 8);
    else
        memcpy(out, bytes, (size_t)count);
}

/* Adds a quad's products for all four patches, or only for the first if it is `alone`. */
static inline __attribute__((always_inline)) tile_sums add_quads(tile_sums s, const int8_t *const *x, size_t offset,
                                                                 eight_weights w, const int odd, const int alone)
{
    s.a = add_quad(s.a, load_quad(x[0] + offset), w, odd);
    if (alone)
        return s;
    s.b = add_quad(s.b, load_quad(x[1] + offset), w, odd);
    s.c = add_quad(s.c, load_quad(x[2] + offset), w, odd);
    s.d = add_quad(s.d, load_quad(x[3] + offset), w, odd);
    return s;
}

/* What is left of runs that fill no quad: only a linear layer has it, whose patches are one run. */
static tile_sums add_rest(const matrix_int8 *m, tile_sums s, const int8_t *const *x, eight_weights w)
{
    const int32_t rest = m->length & 3;
    int32_t quads[4] = {0};
    for (int i = 0; i < 4; i++)
        memcpy(quads + i, x[i] + m->length - rest, (size_t)rest);
    s.a = add_quad(s.a, quads[0], w, 0);
    s.b = add_quad(s.b, quads[1], w, 0);
    s.c = add_quad(s.c, quads[2], w, 0);
    s.d = add_quad(s.d, quads[3], w, 0);
    return s;
}

/* Up to eight outputs of four patches from `first` on, of which there are no more than four if `half`. */
static inline __attribute__((always_inline)) void multiply_eight(const matrix_int8 *m, const patch_int8 *patch,
                                                                 const int half, const int alone, int32_t first,
                                                                 int32_t count, int8_t *out, int32_t out_step)
{
    const int8_t *x[4] = {patch[0].codes, patch[1].codes, patch[2].codes, patch[3].codes}, *w = weights_of(m, first);
    const size_t whole = (size_t)(m->length & ~3), step = 4 * (size_t)width_of_block(m, first);
    const eight_sums none = {{0}, {0}};
    tile_sums s = {none, none, none, none};
    if (m->length & 3)
        s = add_rest(m, s, x, load_weights(w + whole / 4 * step, half));
    for (int32_t segment = 0; segment < m->segments; segment++) {
        for (size_t offset = 4; offset < whole; offset += 8, w += 2 * step) {
            s = add_quads(s, x, offset - 4, load_weights(w, half), 0, alone);
            s = add_quads(s, x, offset, load_weights(w + step, half), 1, alone);
        }
        if (whole & 4) {
            s = add_quads(s, x, whole - 4, load_weights(w, half), 0, alone);
            w += step;
        }
        x[0] += patch[0].step;
        x[1] += patch[1].step;
        x[2] += patch[2].step;
        x[3] += patch[3].step;
    }
    const int32_t outputs = m->outputs - first < 8 ? m->outputs - first : 8;
    const eight bias = load_eight(m->bias + first);
    __m256 multiplier = _mm256_castps128_ps256(_mm_loadu_ps(m->multiplier + first));
    if (!half)
        multiplier = _mm256_insertf128_ps(multiplier, _mm_loadu_ps(m->multiplier + first + 4), 1);
    out += first;
    store_codes(m, bias + total(s.a), multiplier, out, outputs);
    if (count > 1)
        store_codes(m, bias + total(s.b), multiplier, out + out_step, outputs);
    if (count > 2)
        store_codes(m, bias + total(s.c), multiplier, out + 2 * out_step, outputs);
    if (count > 3)
        store_codes(m, bias + total(s.d), multiplier, out + 3 * out_step, outputs);
}

/* out[count][out_step]: the codes of up to OUTPUTS_AT_ONCE outputs of the first `count` of TILE_PATCHES patches. */
static void multiply_int8(const matrix_int8 *m, const patch_int8 *patches, int32_t count, int8_t *out, int32_t out_step,
                          void *scratch)
{
    (void)scratch;
    for (int32_t first = 0; first < m->outputs; first += 8) {
        int32_t half = width_of_block(m, first) - (first & 15) == 4;
        if (half)
            multiply_eight(m, patches, 1, 0, first, count, out, out_step);
        else if (count == 1)
            multiply_eight(m, patches, 0, 1, first, count, out, out_step);
        else
            multiply_eight(m, patches, 0, 0, first, count, out, out_step);
    }
}
