#include <immintrin.h>

/* VNNI multiplies unsigned by signed bytes. Activations become unsigned by flipping their sign bits, which adds 128;
   the biases take 128 * (sum of the weights) off again. A tile is up to eight evenly spaced patches, multiplied by two
   blocks of 16 outputs at a time. A block left over takes two quads at a time instead, its weights in turn: whatever is
   loaded of an activation serves two products in both cases. */
enum { TILE_PATCHES = 8 };

static inline __mmask16 first_lanes(int32_t count)
{
    return (__mmask16)((1u << count) - 1);
}

/* Outputs of the block that starts with `first`, rounded up to whole quads. */
static inline int32_t width_of_block(const matrix_int8 *m, int32_t first)
{
    return m->outputs - first < 16 ? (m->outputs - first + 3) & ~3 : 16;
}

/* One quad of weights for up to 16 outputs. */
static inline __m512i load_weights(const int8_t *w, __mmask16 lanes)
{
    return _mm512_maskz_loadu_epi32(lanes, w);
}

/* Sums have a type of 32-bit lanes: as __m512i, gcc copies them around in every step of a loop. */
typedef int32_t sixteen_lanes __attribute__((vector_size(64)));

/* The sums of two blocks; or of one, even quads and odd ones in turn: outputs 0 and 1 of every four, and 2 and 3. */
typedef struct {
    sixteen_lanes low, high;
} patch_sums;

/* What these are multiplied by. */
typedef struct {
    __m512i low, high;
} weight_pair;

typedef struct {
    patch_sums a, b, c, d;
} half_sums;

static inline __m512i flip_signs(__m512i codes)
{
    return _mm512_xor_si512(codes, _mm512_set1_epi8(-128));
}

/* A quad of codes for every output. */
static inline __m512i load_quad(const int8_t *x)
{
    int32_t quad;
    memcpy(&quad, x, sizeof quad);
    return _mm512_set1_epi32(quad);
}

/* A quad of which only some bytes may be read. */
static inline __m512i load_part(const int8_t *x, int32_t bytes)
{
    return _mm512_broadcastd_epi32(_mm_maskz_loadu_epi8(first_lanes(bytes), x));
}

/* Two quads in turn, one quad or up to three codes of one, made unsigned; nothing else may be read. */
static inline __m512i load_codes(const int8_t *x, const int bytes)
{
    int64_t pair;
    if (bytes < 8)
        return flip_signs(bytes == 4 ? load_quad(x) : load_part(x, bytes));
    memcpy(&pair, x, sizeof pair);
    return _mm512_xor_epi64(_mm512_set1_epi64(pair), _mm512_set1_epi8(-128));
}

static inline sixteen_lanes add_product(sixteen_lanes sums, __m512i unsigned_codes, __m512i signed_codes)
{
    return (sixteen_lanes)_mm512_dpbusd_epi32((__m512i)sums, unsigned_codes, signed_codes);
}

static inline patch_sums add_pair(patch_sums s, __m512i x, weight_pair w)
{
    s.low = add_product(s.low, x, w.low);
    s.high = add_product(s.high, x, w.high);
    return s;
}

/* Adds the products of `bytes` codes of four patches, which start at[] behind the first. */
static inline __attribute__((always_inline)) half_sums add_codes(half_sums s, const int8_t *x, const intptr_t *at,
                                                                 const int bytes, weight_pair w)
{
    s.a = add_pair(s.a, load_codes(x, bytes), w);
    s.b = add_pair(s.b, load_codes(x + at[1], bytes), w);
    s.c = add_pair(s.c, load_codes(x + at[2], bytes), w);
    s.d = add_pair(s.d, load_codes(x + at[3], bytes), w);
    return s;
}

/* The weights of a quad of two blocks, which are `apart`, or of two quads of one or a last quad. */
static inline weight_pair load_pair(const int8_t *w, intptr_t apart, __mmask16 lanes, int blocks, int quads)
{
    __m512i first = load_weights(w, lanes);
    __m512i second = blocks == 2 || quads == 2 ? load_weights(w + apart, lanes) : _mm512_setzero_si512();
    weight_pair both = {first, second};
    weight_pair in_turn = {_mm512_unpacklo_epi32(first, second), _mm512_unpackhi_epi32(first, second)};
    return blocks == 2 ? both : in_turn;
}

static inline sixteen_lanes total(patch_sums s)
{
    __m512 low = _mm512_castsi512_ps((__m512i)s.low), high = _mm512_castsi512_ps((__m512i)s.high);
    __m512i even = _mm512_castps_si512(_mm512_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0)));
    __m512i odd = _mm512_castps_si512(_mm512_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 3, 1)));
    return (sixteen_lanes)even + (sixteen_lanes)odd;
}

/* 128 times the sum of each output's weights: four sums, as a product takes four cycles. */
static sixteen_lanes shift_of_block(const int8_t *w, int32_t quads, int32_t step, __mmask16 lanes)
{
    const __m512i shift = _mm512_set1_epi8(-128);
    sixteen_lanes a = {0}, b = a, c = a, d = a;
    for (; quads >= 4; quads -= 4, w += 4 * step) {
        a = add_product(a, shift, load_weights(w, lanes));
        b = add_product(b, shift, load_weights(w + step, lanes));
        c = add_product(c, shift, load_weights(w + 2 * step, lanes));
        d = add_product(d, shift, load_weights(w + 3 * step, lanes));
    }
    for (; quads > 0; quads--, w += step)
        a = add_product(a, shift, load_weights(w, lanes));
    return a + b + c + d;
}

/* The biases of a matrix of up to OUTPUTS_AT_ONCE outputs, less what unsigned activations add. Those of a single patch
   stay as they are: passing over all weights would take as long as multiplying by them. */
static const int32_t *prepare_bias(const matrix_int8 *m, int32_t *space)
{
    int32_t quads = m->segments * ((m->length + 3) / 4);
    const int8_t *w = m->weights;
    if (m->patches == 1)
        return m->bias;
    for (int32_t first = 0; first < m->outputs; first += 16, w += 64 * quads) {
        __mmask16 lanes = first_lanes(width_of_block(m, first));
        sixteen_lanes bias = (sixteen_lanes)_mm512_maskz_loadu_epi32(lanes, m->bias + first);
        bias -= shift_of_block(w, quads, 4 * width_of_block(m, first), lanes);
        _mm512_mask_storeu_epi32(space + first, lanes, (__m512i)bias);
    }
    return space;
}

/* What turns the sums of a block into codes, as vectors. */
typedef struct {
    sixteen_lanes bias;
    __m512 multiplier, low, high;
    __m512i zero; /* of 16 bits, as codes have when it is added */
    __mmask16 outputs;
} block_codes;

static inline block_codes codes_of_block(const matrix_int8 *m, int32_t first)
{
    __mmask16 lanes = first_lanes(m->outputs - first < 16 ? m->outputs - first : 16);
    block_codes codes = {
        (sixteen_lanes)_mm512_maskz_loadu_epi32(lanes, m->bias + first),
        _mm512_maskz_loadu_ps(lanes, m->multiplier + first), _mm512_set1_ps((float)(m->low - m->zero)),
        _mm512_set1_ps((float)(m->high - m->zero)), _mm512_set1_epi16((short)m->zero), lanes};
    return codes;
}

static inline __m512i round_sums(const block_codes *codes, sixteen_lanes sums)
{
    __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps((__m512i)(sums + codes->bias)), codes->multiplier);
    scaled = _mm512_min_ps(_mm512_max_ps(scaled, codes->low), codes->high);
    return _mm512_cvt_roundps_epi32(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* Stores the codes of a block for up to four patches. Packing leaves quads of the patches in turn. */
static inline void store_four(const block_codes *codes, sixteen_lanes a, sixteen_lanes b, sixteen_lanes c,
                              sixteen_lanes d, int32_t count, int8_t *out, int32_t out_step)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i ab = _mm512_add_epi16(_mm512_packs_epi32(round_sums(codes, a), round_sums(codes, b)), codes->zero);
    __m512i cd = _mm512_add_epi16(_mm512_packs_epi32(round_sums(codes, c), round_sums(codes, d)), codes->zero);
    __m512i all = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(ab, cd));
    _mm_mask_storeu_epi8(out, codes->outputs, _mm512_castsi512_si128(all));
    if (count > 1)
        _mm_mask_storeu_epi8(out + out_step, codes->outputs, _mm512_extracti32x4_epi32(all, 1));
    if (count > 2)
        _mm_mask_storeu_epi8(out + 2 * out_step, codes->outputs, _mm512_extracti32x4_epi32(all, 2));
    if (count > 3)
        _mm_mask_storeu_epi8(out + 3 * out_step, codes->outputs, _mm512_extracti32x4_epi32(all, 3));
}

static inline __attribute__((always_inline)) void store_half(const matrix_int8 *m, half_sums s, const int blocks,
                                                             int32_t first, int32_t count, int8_t *out,
                                                             int32_t out_step)
{
    block_codes codes = codes_of_block(m, first);
    if (blocks == 1) {
        store_four(&codes, total(s.a), total(s.b), total(s.c), total(s.d), count, out + first, out_step);
    } else {
        store_four(&codes, s.a.low, s.b.low, s.c.low, s.d.low, count, out + first, out_step);
        codes = codes_of_block(m, first + 16);
        store_four(&codes, s.a.high, s.b.high, s.c.high, s.d.high, count, out + first + 16, out_step);
    }
}

/* The codes of a tile and of one or two blocks from `first` on, two of which are full. */
static inline __attribute__((always_inline)) void multiply_tile(const matrix_int8 *m, const patch_int8 *tile,
                                                                const int blocks, const int halves, int32_t first,
                                                                int32_t count, int8_t *out, int32_t out_step)
{
    const int32_t width = blocks == 2 ? 16 : width_of_block(m, first), at_once = blocks == 2 ? 4 : 8;
    const intptr_t bytes = m->segments * ((m->length + 3) & ~3), step = 4 * width, next = tile->next;
    const intptr_t apart = blocks == 2 ? 16 * bytes : step, last = (count < 4 ? count - 1 : 3) * next;
    const intptr_t at[4] = {0, count > 1 ? next : 0, count > 2 ? 2 * next : last, last};
    const __mmask16 lanes = blocks == 2 ? 0xffff : first_lanes(width);
    const int8_t *w = m->weights + first * bytes, *near = tile[0].codes, *far = tile[halves - 1].codes;
    const patch_sums none = {{0}, {0}};
    half_sums s = {none, none, none, none}, t = s;
    for (int32_t segment = 0; segment < m->segments; segment++, near += tile[0].step, far += tile[halves - 1].step) {
        const int8_t *x = near, *y = far, *end = x + (m->length & -at_once);
        for (; x != end; x += at_once, y += at_once, w += step * at_once / 4) {
            weight_pair v = load_pair(w, apart, lanes, blocks, at_once / 4);
            s = add_codes(s, x, at, at_once, v);
            if (halves == 2)
                t = add_codes(t, y, at, at_once, v);
        }
        for (int32_t left = m->length & (at_once - 1); left > 0; left -= 4, x += 4, y += 4, w += step) {
            weight_pair v = load_pair(w, apart, lanes, blocks, 1);
            s = add_codes(s, x, at, left < 4 ? left : 4, v);
            if (halves == 2)
                t = add_codes(t, y, at, left < 4 ? left : 4, v);
        }
    }
    store_half(m, s, blocks, first, count, out, out_step);
    if (halves == 2)
        store_half(m, t, blocks, first, 4, out + (count - 4) * out_step, out_step);
}

/* One patch has other weights for every product: these become unsigned, and 128 * (sum of the codes) comes off. */
static sixteen_lanes shift_of_patch(const matrix_int8 *m, const patch_int8 *patch)
{
    __m512i sums = _mm512_setzero_si512();
    for (int32_t segment = 0; segment < m->segments; segment++) {
        const int8_t *x = patch->codes + segment * patch->step;
        for (int32_t i = 0; i < m->length; i += 64) {
            __mmask64 left = m->length - i < 64 ? (1ull << (m->length - i)) - 1 : ~0ull;
            sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(-128), _mm512_maskz_loadu_epi8(left, x + i));
        }
    }
    return (sixteen_lanes)_mm512_set1_epi32(_mm512_reduce_add_epi32(sums));
}

/* A patch that is the only one: four sums of quads in turn, as a product takes four cycles. */
static void multiply_single(const matrix_int8 *m, const patch_int8 *patch, int8_t *out)
{
    const sixteen_lanes shift = shift_of_patch(m, patch);
    const int8_t *w = m->weights;
    for (int32_t first = 0; first < m->outputs; first += 16) {
        const int32_t width = width_of_block(m, first), step = 4 * width;
        const __mmask16 lanes = first_lanes(width);
        const block_codes codes = codes_of_block(m, first);
        sixteen_lanes a = -shift, b = {0}, c = b, d = b;
        for (int32_t segment = 0; segment < m->segments; segment++) {
            const int8_t *x = patch->codes + segment * patch->step;
            int32_t left = m->length;
            for (; left >= 16; left -= 16, x += 16, w += 4 * step) {
                a = add_product(a, flip_signs(load_weights(w, lanes)), load_quad(x));
                b = add_product(b, flip_signs(load_weights(w + step, lanes)), load_quad(x + 4));
                c = add_product(c, flip_signs(load_weights(w + 2 * step, lanes)), load_quad(x + 8));
                d = add_product(d, flip_signs(load_weights(w + 3 * step, lanes)), load_quad(x + 12));
            }
            for (; left > 0; left -= 4, x += 4, w += step)
                a = add_product(a, flip_signs(load_weights(w, lanes)), load_part(x, left < 4 ? left : 4));
        }
        a += b + c + d;
        store_four(&codes, a, a, a, a, 1, out + first, 0);
    }
}

/* All outputs of a tile's patches; of more than four patches, its second half are the last four. */
static inline __attribute__((always_inline)) void multiply_halves(const matrix_int8 *m, const patch_int8 *tile,
                                                                  const int halves, int32_t count, int8_t *out,
                                                                  int32_t out_step)
{
    int32_t first = 0;
    for (; m->outputs - first >= 32; first += 32)
        multiply_tile(m, tile, 2, halves, first, count, out, out_step);
    for (; first < m->outputs; first += 16)
        multiply_tile(m, tile, 1, halves, first, count, out, out_step);
}

/* out[count][out_step]: the codes of up to OUTPUTS_AT_ONCE outputs of up to TILE_PATCHES patches. */
static void multiply_int8(const matrix_int8 *m, const patch_int8 *tile, int32_t count, int8_t *out, int32_t out_step,
                          void *scratch)
{
    (void)scratch;
    if (m->patches == 1)
        multiply_single(m, tile, out);
    else if (count > 4)
        multiply_halves(m, tile, 2, count, out, out_step);
    else
        multiply_halves(m, tile, 1, count, out, out_step);
}
