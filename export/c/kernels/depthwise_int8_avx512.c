#include <immintrin.h>

/* 64 neighbouring codes of an output row at a time: channels of one pixel, or of several pixels where these lie as
   close in the image as in the output. Four taps are interleaved for VNNI to sum, and the sums stand in the order that
   unpacking gives and packing takes back. Activations get their sign bits flipped, as VNNI wants them unsigned. */
typedef int32_t sixteen_sums __attribute__((vector_size(64)));

typedef struct {
    sixteen_sums a, b, c, d; /* codes 0-3, 4-7, 8-11 and 12-15 of every 16 */
} interleaved;

enum { QUADS_KEPT = 7 }; /* quads of taps whose weights are interleaved only once */

/* What all pixels share for the `lanes` codes whose first channel is `channel`. */
typedef struct {
    const conv_int8 *layer;
    int32_t channel, lanes, quads;
    interleaved weights[QUADS_KEPT], bias;
    __m512 multiplier[4];
} depthwise_lanes;

/* The taps of a window in their order: where the next one lies in the image, x counting codes from the row's start. */
typedef struct {
    const int8_t *in;
    int32_t y, x, first_x;
    int32_t kx, left; /* taps taken of this kernel row, taps not yet taken at all */
} tap_cursor;

static inline interleaved interleave(__m512i t0, __m512i t1, __m512i t2, __m512i t3)
{
    __m512i low01 = _mm512_unpacklo_epi8(t0, t1), high01 = _mm512_unpackhi_epi8(t0, t1);
    __m512i low23 = _mm512_unpacklo_epi8(t2, t3), high23 = _mm512_unpackhi_epi8(t2, t3);
    interleaved quads = {
        (sixteen_sums)_mm512_unpacklo_epi16(low01, low23), (sixteen_sums)_mm512_unpackhi_epi16(low01, low23),
        (sixteen_sums)_mm512_unpacklo_epi16(high01, high23), (sixteen_sums)_mm512_unpackhi_epi16(high01, high23)};
    return quads;
}

static inline interleaved add_taps(interleaved sums, interleaved x, interleaved w)
{
    sums.a = (sixteen_sums)_mm512_dpbusd_epi32((__m512i)sums.a, (__m512i)x.a, (__m512i)w.a);
    sums.b = (sixteen_sums)_mm512_dpbusd_epi32((__m512i)sums.b, (__m512i)x.b, (__m512i)w.b);
    sums.c = (sixteen_sums)_mm512_dpbusd_epi32((__m512i)sums.c, (__m512i)x.c, (__m512i)w.c);
    sums.d = (sixteen_sums)_mm512_dpbusd_epi32((__m512i)sums.d, (__m512i)x.d, (__m512i)w.d);
    return sums;
}

/* Fills the lanes with what `size` bytes a channel holds, over and over where several pixels share the lanes. */
static void spread(const depthwise_lanes *l, const void *channels, int32_t size, void *lanes)
{
    int32_t count = l->layer->shape.channels - l->channel;
    count = count < l->lanes ? count : l->lanes;
    memset(lanes, 0, (size_t)(64 * size));
    for (int32_t lane = 0; lane < l->lanes; lane += count)
        memcpy((char *)lanes + lane * size, (const char *)channels + l->channel * size, (size_t)(count * size));
}

static __m512i weights_of_tap(const depthwise_lanes *l, int32_t tap)
{
    const geometry *g = &l->layer->shape;
    int8_t lanes[64];
    if (tap >= g->kernel_height * g->kernel_width)
        return _mm512_setzero_si512();
    spread(l, l->layer->weights + tap * g->channels, 1, lanes);
    return _mm512_loadu_si512(lanes);
}

static interleaved weights_of_quad(const depthwise_lanes *l, int32_t quad)
{
    return interleave(weights_of_tap(l, 4 * quad), weights_of_tap(l, 4 * quad + 1), weights_of_tap(l, 4 * quad + 2),
                      weights_of_tap(l, 4 * quad + 3));
}

/* 16 of 64 values of 32 bits, in the order of interleaved sums. */
static __m512i pick_interleaved(const int32_t *values)
{
    const __m512i order = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 32, 33, 34, 35, 48, 49, 50, 51);
    return _mm512_i32gather_epi32(order, values, 4);
}

static void prepare_lanes(depthwise_lanes *l)
{
    const geometry *g = &l->layer->shape;
    int32_t values[64];
    const sixteen_sums shift = (sixteen_sums)_mm512_set1_epi8(-128);
    const interleaved flips = {shift, shift, shift, shift};
    interleaved shifted = {{0}, {0}, {0}, {0}};
    l->quads = (g->kernel_height * g->kernel_width + 3) / 4;
    for (int32_t quad = 0; quad < l->quads; quad++) {
        interleaved weights = weights_of_quad(l, quad);
        shifted = add_taps(shifted, flips, weights);
        if (quad < QUADS_KEPT)
            l->weights[quad] = weights;
    }
    spread(l, l->layer->bias, 4, values);
    l->bias.a = (sixteen_sums)pick_interleaved(values) - shifted.a;
    l->bias.b = (sixteen_sums)pick_interleaved(values + 4) - shifted.b;
    l->bias.c = (sixteen_sums)pick_interleaved(values + 8) - shifted.c;
    l->bias.d = (sixteen_sums)pick_interleaved(values + 12) - shifted.d;
    spread(l, l->layer->multiplier, 4, values);
    for (int32_t i = 0; i < 4; i++)
        l->multiplier[i] = _mm512_castsi512_ps(pick_interleaved(values + 4 * i));
}

static inline __mmask64 lanes_between(int32_t first, int32_t last)
{
    return first < last ? (~0ull >> (64 - (last - first))) << first : 0;
}

/* Codes from (t->y, x) on into the lanes that a mask has; no other lane's byte is read, wherever it lies. */
static inline __m512i load_lanes(const tap_cursor *t, int32_t row, int32_t x, __mmask64 lanes, __m512i others)
{
    uintptr_t from = (uintptr_t)t->in + (uintptr_t)(intptr_t)(t->y * row + x);
    return _mm512_mask_loadu_epi8(others, lanes, (const void *)from);
}

/* The next tap's codes for `lanes` lanes, the pixels in which are neighbours unless `apart`. With `inside`, all of the
   window lies in the image; otherwise a tap beside it is zero_in. */
static inline __attribute__((always_inline)) __m512i take_tap(const geometry *g, tap_cursor *t, int32_t lanes,
                                                              __m512i outside, const int inside, const int apart)
{
    const int32_t row = g->width * g->channels, pixel = apart ? g->channels : lanes;
    __m512i codes = outside;
    if (t->left-- <= 0)
        return codes;
    if (inside || (t->y >= 0 && t->y < g->height)) {
        for (int32_t first = 0, x = t->x; first < lanes; first += pixel, x += (g->stride_width - 1) * g->channels) {
            int32_t from = first, to = first + pixel < lanes ? first + pixel : lanes;
            if (!inside) {
                from = -x > first ? -x : first;
                to = row - x < to ? row - x : to;
            }
            codes = load_lanes(t, row, x, lanes_between(from, to), codes);
            if (!apart)
                break;
        }
    }
    t->x += g->dilation_width * g->channels;
    if (++t->kx == g->kernel_width) {
        t->kx = 0;
        t->x = t->first_x;
        t->y += g->dilation_height;
    }
    return _mm512_xor_si512(codes, _mm512_set1_epi8(-128));
}

static inline __attribute__((always_inline)) interleaved sum_taps(const depthwise_lanes *l, tap_cursor t, int32_t lanes,
                                                                  const int inside, const int apart)
{
    const geometry *g = &l->layer->shape;
    const __m512i outside = _mm512_set1_epi8((char)l->layer->zero_in);
    interleaved sums = l->bias;
    for (int32_t quad = 0; quad < l->quads; quad++) {
        __m512i t0 = take_tap(g, &t, lanes, outside, inside, apart);
        __m512i t1 = take_tap(g, &t, lanes, outside, inside, apart);
        __m512i t2 = take_tap(g, &t, lanes, outside, inside, apart);
        __m512i t3 = take_tap(g, &t, lanes, outside, inside, apart);
        interleaved x = interleave(t0, t1, t2, t3);
        sums = add_taps(sums, x, quad < QUADS_KEPT ? l->weights[quad] : weights_of_quad(l, quad));
    }
    return sums;
}

static inline __m512i requantize_sixteen(const conv_int8 *layer, sixteen_sums sums, __m512 multiplier)
{
    __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps((__m512i)sums), multiplier);
    scaled = _mm512_max_ps(scaled, _mm512_set1_ps((float)(layer->low - layer->zero_out)));
    scaled = _mm512_min_ps(scaled, _mm512_set1_ps((float)(layer->high - layer->zero_out)));
    __m512i codes = _mm512_cvt_roundps_epi32(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_add_epi32(codes, _mm512_set1_epi32(layer->zero_out));
}

/* out[lanes], where the window starts in the image's row `top` at its code `x`. */
static void run_lanes(const depthwise_lanes *l, const int8_t *in, int32_t top, int32_t x, int32_t lanes, int8_t *out)
{
    const geometry *g = &l->layer->shape;
    const int32_t pixels = (lanes + g->channels - 1) / g->channels, apart = pixels > 1 && g->stride_width > 1;
    const int32_t columns = (pixels - 1) * g->stride_width + (g->kernel_width - 1) * g->dilation_width + 1;
    tap_cursor taps = {in, top, x, x, 0, g->kernel_height * g->kernel_width};
    interleaved sums;
    const int32_t inside = x >= 0 && x - l->channel + columns * g->channels <= g->width * g->channels && top >= 0 &&
                           top + (g->kernel_height - 1) * g->dilation_height < g->height;
    if (apart)
        sums = inside ? sum_taps(l, taps, lanes, 1, 1) : sum_taps(l, taps, lanes, 0, 1);
    else
        sums = inside ? sum_taps(l, taps, lanes, 1, 0) : sum_taps(l, taps, lanes, 0, 0);
    __m512i ab = _mm512_packs_epi32(requantize_sixteen(l->layer, sums.a, l->multiplier[0]),
                                    requantize_sixteen(l->layer, sums.b, l->multiplier[1]));
    __m512i cd = _mm512_packs_epi32(requantize_sixteen(l->layer, sums.c, l->multiplier[2]),
                                    requantize_sixteen(l->layer, sums.d, l->multiplier[3]));
    _mm512_mask_storeu_epi8(out, lanes_between(0, lanes), _mm512_packs_epi16(ab, cd));
}

/* in[height][width][channels] to out[out_height][out_width][channels], every channel with a kernel of its own. */
static void run_depthwise_int8(const conv_int8 *layer, const int8_t *in, int8_t *out)
{
    const geometry *g = &layer->shape;
    const int32_t pixels = g->channels <= 32 ? 64 / g->channels : 1, row = g->out_width * g->channels;
    for (int32_t channel = 0; channel < g->channels; channel += 64) {
        int32_t left = g->channels - channel;
        depthwise_lanes l = {.layer = layer, .channel = channel, .lanes = left < 64 ? pixels * left : 64};
        prepare_lanes(&l);
        for (int32_t y = 0; y < g->out_height; y++) {
            int32_t top = y * g->stride_height - g->pad_top;
            for (int32_t x = 0; x < g->out_width; x += pixels) {
                int32_t from = (x * g->stride_width - g->pad_left) * g->channels + channel;
                int32_t to = x * g->channels + channel, lanes = row - to < l.lanes ? row - to : l.lanes;
                run_lanes(&l, in, top, from, lanes, out + y * row + to);
            }
        }
    }
}
