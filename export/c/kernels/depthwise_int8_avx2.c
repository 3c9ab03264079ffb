#include <immintrin.h>

/* Sixteen neighbouring codes of an output row at a time: channels of one pixel, or of several pixels where these lie as
   close in the image as in the output. Codes are widened to 16 bits and taps interleaved in pairs, whose products one
   instruction sums; the sums stand in the order that unpacking gives and packing takes back. */
typedef int32_t eight_lanes __attribute__((vector_size(32)));

typedef struct {
    eight_lanes low, high; /* lanes 0-3 and 8-11; lanes 4-7 and 12-15 */
} sixteen_lanes;

enum { TAP_PAIRS_KEPT = 13 }; /* pairs of taps whose weights are interleaved only once */

/* What all pixels share for the `lanes` codes whose first channel is `channel`. */
typedef struct {
    const conv_int8 *layer;
    int32_t channel, lanes, taps;
    sixteen_lanes weights[TAP_PAIRS_KEPT], bias;
    __m256 multiplier[2];
} depthwise_lanes;

/* The taps of a window in their order: where the next one lies in the image, x counting codes from the row's start. */
typedef struct {
    const int8_t *in;
    int32_t y, x, first_x;
    int32_t kx; /* taps taken of this kernel row */
} tap_cursor;

static inline __m256i widen_sixteen(const int8_t *codes)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)codes));
}

static inline sixteen_lanes add_pair(sixteen_lanes sums, __m256i t0, __m256i t1, sixteen_lanes w)
{
    sums.low += (eight_lanes)_mm256_madd_epi16(_mm256_unpacklo_epi16(t0, t1), (__m256i)w.low);
    sums.high += (eight_lanes)_mm256_madd_epi16(_mm256_unpackhi_epi16(t0, t1), (__m256i)w.high);
    return sums;
}

/* Fills sixteen lanes with what `size` bytes a channel holds, over and over where several pixels share the lanes. */
static void spread(const depthwise_lanes *l, const void *channels, int32_t size, void *lanes)
{
    int32_t count = l->layer->shape.channels - l->channel;
    count = count < l->lanes ? count : l->lanes;
    memset(lanes, 0, (size_t)(16 * size));
    for (int32_t lane = 0; lane < l->lanes; lane += count)
        memcpy((char *)lanes + lane * size, (const char *)channels + l->channel * size, (size_t)(count * size));
}

static __m256i weights_of_tap(const depthwise_lanes *l, int32_t tap)
{
    int8_t lanes[16];
    if (tap >= l->taps)
        return _mm256_setzero_si256();
    spread(l, l->layer->weights + tap * l->layer->shape.channels, 1, lanes);
    return widen_sixteen(lanes);
}

static sixteen_lanes weights_of_pair(const depthwise_lanes *l, int32_t pair)
{
    __m256i t0 = weights_of_tap(l, 2 * pair), t1 = weights_of_tap(l, 2 * pair + 1);
    sixteen_lanes weights = {(eight_lanes)_mm256_unpacklo_epi16(t0, t1), (eight_lanes)_mm256_unpackhi_epi16(t0, t1)};
    return weights;
}

/* Eight of sixteen values of 32 bits, in the order of sums. */
static __m256i pick_lanes(const int32_t *values)
{
    __m256i low = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)values));
    return _mm256_inserti128_si256(low, _mm_loadu_si128((const __m128i *)(const void *)(values + 8)), 1);
}

static void prepare_lanes(depthwise_lanes *l)
{
    int32_t values[16];
    for (int32_t pair = 0; pair < TAP_PAIRS_KEPT && 2 * pair < l->taps; pair++)
        l->weights[pair] = weights_of_pair(l, pair);
    spread(l, l->layer->bias, 4, values);
    l->bias.low = (eight_lanes)pick_lanes(values);
    l->bias.high = (eight_lanes)pick_lanes(values + 4);
    spread(l, l->layer->multiplier, 4, values);
    l->multiplier[0] = _mm256_castsi256_ps(pick_lanes(values));
    l->multiplier[1] = _mm256_castsi256_ps(pick_lanes(values + 4));
}

/* Copies a tap's codes for `lanes` lanes, and leaves alone those beside the image. */
static void copy_lanes(const depthwise_lanes *l, const tap_cursor *t, int32_t lanes, int8_t *codes)
{
    const geometry *g = &l->layer->shape;
    int32_t row = g->width * g->channels, pixel = g->channels < lanes ? g->channels : lanes;
    if (t->y < 0 || t->y >= g->height)
        return;
    for (int32_t first = 0, x = t->x; first < lanes; first += pixel, x += g->stride_width * g->channels)
        if (x >= 0 && x < row)
            memcpy(codes + first, t->in + t->y * row + x, (size_t)(lanes - first < pixel ? lanes - first : pixel));
}

/* Where the sixteen codes of a tap are to be read. */
typedef enum {
    IN_PLACE,  /* all of the window lies in the image */
    ONE_PIXEL, /* lanes of one pixel, which may lie beside the image */
    COPIED     /* lanes fewer than sixteen or of several pixels, each of which may lie beside the image */
} tap_place;

/* The next tap's codes, zero_in where they lie beside the image. */
static inline __attribute__((always_inline)) __m256i take_tap(const depthwise_lanes *l, tap_cursor *t, int32_t lanes,
                                                              const tap_place place)
{
    const geometry *g = &l->layer->shape;
    const int32_t row = g->width * g->channels;
    __m256i codes = _mm256_set1_epi16((int16_t)l->layer->zero_in);
    if (place == COPIED) {
        int8_t copied[16];
        memset(copied, l->layer->zero_in, sizeof copied);
        copy_lanes(l, t, lanes, copied);
        codes = widen_sixteen(copied);
    } else if (place == IN_PLACE || (t->y >= 0 && t->y < g->height && t->x >= 0 && t->x < row)) {
        codes = widen_sixteen(t->in + t->y * row + t->x);
    }
    t->x += g->dilation_width * g->channels;
    if (++t->kx == g->kernel_width) {
        t->kx = 0;
        t->x = t->first_x;
        t->y += g->dilation_height;
    }
    return codes;
}

static inline __attribute__((always_inline)) sixteen_lanes sum_taps(const depthwise_lanes *l, tap_cursor t,
                                                                    int32_t lanes, const tap_place place)
{
    sixteen_lanes sums = l->bias;
    int32_t pair = 0;
    for (; 2 * pair + 1 < l->taps; pair++) {
        __m256i t0 = take_tap(l, &t, lanes, place), t1 = take_tap(l, &t, lanes, place);
        sums = add_pair(sums, t0, t1, pair < TAP_PAIRS_KEPT ? l->weights[pair] : weights_of_pair(l, pair));
    }
    if (l->taps & 1) {
        __m256i last = take_tap(l, &t, lanes, place);
        sums = add_pair(sums, last, last, pair < TAP_PAIRS_KEPT ? l->weights[pair] : weights_of_pair(l, pair));
    }
    return sums;
}

static inline __m256i requantize_eight(const conv_int8 *layer, eight_lanes sums, __m256 multiplier)
{
    __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps((__m256i)sums), multiplier);
    scaled = _mm256_max_ps(scaled, _mm256_set1_ps((float)(layer->low - layer->zero_out)));
    scaled = _mm256_min_ps(scaled, _mm256_set1_ps((float)(layer->high - layer->zero_out)));
    return _mm256_add_epi32(_mm256_cvtps_epi32(scaled), _mm256_set1_epi32(layer->zero_out));
}

/* out[lanes], where the window starts in the image's row `top` at its code `x`. */
static void run_lanes(const depthwise_lanes *l, const int8_t *in, int32_t top, int32_t x, int32_t lanes, int8_t *out)
{
    const geometry *g = &l->layer->shape;
    const int32_t pixels = (lanes + g->channels - 1) / g->channels, apart = pixels > 1 && g->stride_width > 1;
    const int32_t columns = pixels + (g->kernel_width - 1) * g->dilation_width;
    const int32_t inside = lanes == 16 && !apart && x >= 0 && top >= 0 &&
                           x - l->channel + columns * g->channels <= g->width * g->channels &&
                           top + (g->kernel_height - 1) * g->dilation_height < g->height;
    const tap_cursor taps = {in, top, x, x, 0};
    sixteen_lanes sums;
    if (inside)
        sums = sum_taps(l, taps, lanes, IN_PLACE);
    else if (lanes == 16 && pixels == 1)
        sums = sum_taps(l, taps, lanes, ONE_PIXEL);
    else
        sums = sum_taps(l, taps, lanes, COPIED);
    __m256i words = _mm256_packs_epi32(requantize_eight(l->layer, sums.low, l->multiplier[0]),
                                       requantize_eight(l->layer, sums.high, l->multiplier[1]));
    int8_t codes[16];
    _mm_storeu_si128((__m128i *)(void *)codes,
                     _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    if (lanes == 16)
        memcpy(out, codes, 16);
    else
        memcpy(out, codes, (size_t)lanes);
}

/* in[height][width][channels] to out[out_height][out_width][channels], every channel with a kernel of its own. The last
   sixteen channels may overlap those before them. */
static void run_depthwise_int8(const conv_int8 *layer, const int8_t *in, int8_t *out)
{
    const geometry *g = &layer->shape;
    const int32_t pixels = g->channels <= 8 ? 16 / g->channels : 1, row = g->out_width * g->channels;
    for (int32_t first = 0; first < g->channels; first += 16) {
        depthwise_lanes l = {.layer = layer, .taps = g->kernel_height * g->kernel_width};
        l.lanes = g->channels < 16 ? pixels * g->channels : 16;
        l.channel = g->channels >= 16 && first > g->channels - 16 ? g->channels - 16 : first;
        prepare_lanes(&l);
        for (int32_t y = 0; y < g->out_height; y++) {
            int32_t top = y * g->stride_height - g->pad_top;
            for (int32_t x = 0; x < g->out_width; x += pixels) {
                int32_t from = (x * g->stride_width - g->pad_left) * g->channels + l.channel;
                int32_t to = x * g->channels + l.channel, lanes = row - to < l.lanes ? row - to : l.lanes;
                run_lanes(&l, in, top, from, lanes, out + y * row + to);
            }
        }
    }
}
