#include <arm_acle.h>

/* Four channels at a time. SXTAB16 widens channels 0 and 2 of a word, or 1 and 3 once it is rotated, and adds -zero_in
   on the way, so that taps beside the image are simply left out. */
typedef struct {
    int32_t even, odd;
} channel_pairs;

/* Sums of four channels: channels 0 and 2 from even pairs, 1 and 3 from odd ones. */
typedef struct {
    int32_t a, b, c, d;
} channel_sums;

enum { TAPS_KEPT = 49 }; /* taps whose weights are widened only once */

/* What the pixels of a layer share for four channels. */
typedef struct {
    const conv_int8 *layer;
    int32_t channel, count; /* the first one, and how many of the four there are */
    int32_t minus_zero;     /* -zero_in twice */
    channel_sums bias;
    channel_pairs weights[TAPS_KEPT];
} four_channels;

/* The part of a window inside the image. Gaps lead from the end of a row to the start of the next. */
typedef struct {
    const int8_t *x;
    const channel_pairs *w;
    int32_t rows, columns, column_step, row_gap, weight_gap;
} inner_window;

static inline channel_pairs widen_channels(int32_t quad, int32_t added)
{
    channel_pairs pairs;
    __asm__("sxtab16 %0, %1, %2" : "=r"(pairs.even) : "r"(added), "r"(quad));
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(pairs.odd) : "r"(added), "r"(quad));
    return pairs;
}

static inline int32_t load_four(const int8_t *codes)
{
    int32_t quad;
    memcpy(&quad, codes, sizeof quad);
    return quad;
}

/* Fewer codes than four, where a layer has no more channels. */
static int32_t load_few(const int8_t *codes, int32_t count)
{
    int32_t quad = 0;
    memcpy(&quad, codes, (size_t)count);
    return quad;
}

static inline channel_sums add_products(channel_sums s, channel_pairs x, channel_pairs w)
{
    s.a = __smlabb(x.even, w.even, s.a);
    s.b = __smlabb(x.odd, w.odd, s.b);
    s.c = __smlatt(x.even, w.even, s.c);
    s.d = __smlatt(x.odd, w.odd, s.d);
    return s;
}

/* What the loop over a window's taps keeps in registers. */
typedef struct {
    channel_sums sums;
    const int8_t *x;
    const channel_pairs *w;
} window_sums;

/* Adds a tap of four channels and steps to the next one; compilers do not find LDRD on their own. */
static inline void add_four_channels(window_sums *s, int32_t step, int32_t minus_zero)
{
    int32_t even, odd, even_w, odd_w;
    __asm__ volatile("ldr %[odd], [%[x]]\n\t"
                     "ldrd %[even_w], %[odd_w], [%[w]], #8\n\t"
                     "sxtab16 %[even], %[added], %[odd]\n\t"
                     "sxtab16 %[odd], %[added], %[odd], ror #8\n\t"
                     "smlabb %[a], %[even], %[even_w], %[a]\n\t"
                     "smlatt %[c], %[even], %[even_w], %[c]\n\t"
                     "smlabb %[b], %[odd], %[odd_w], %[b]\n\t"
                     "smlatt %[d], %[odd], %[odd_w], %[d]"
                     : [a] "+r"(s->sums.a), [b] "+r"(s->sums.b), [c] "+r"(s->sums.c), [d] "+r"(s->sums.d),
                       [w] "+r"(s->w), [even] "=&r"(even), [odd] "=&r"(odd), [even_w] "=&r"(even_w),
                       [odd_w] "=&r"(odd_w)
                     : [x] "r"(s->x), [added] "r"(minus_zero)
                     : "memory");
    s->x += step;
    __asm__ volatile("" : "+r"(s->x)); /* or else the loop keeps several pointers */
}

static inline channel_sums sum_window(const inner_window *window, int32_t minus_zero, channel_sums bias)
{
    window_sums s = {bias, window->x, window->w};
    const int32_t step = window->column_step;
    for (int32_t row = window->rows; row > 0; row--) {
        int32_t column = window->columns;
        do
            add_four_channels(&s, step, minus_zero);
        while (--column);
        s.x += window->row_gap;
        s.w += window->weight_gap;
    }
    return s.sums;
}

/* The codes of four channels of `pixels` neighbours in a row of the output. */
static __attribute__((noinline)) void run_windows(const four_channels *f, inner_window window, int32_t pixels,
                                                  int8_t *out)
{
    const geometry *g = &f->layer->shape;
    const float *multiplier = f->layer->multiplier + f->channel;
    const int32_t channels = g->channels, pixel_step = g->stride_width * channels, zero = f->layer->zero_out;
    for (; pixels > 0; pixels--, window.x += pixel_step, out += channels) {
        channel_sums sums = sum_window(&window, f->minus_zero, f->bias);
        out[0] = saturated_code(sums.a, multiplier[0], zero);
        out[1] = saturated_code(sums.b, multiplier[1], zero);
        out[2] = saturated_code(sums.c, multiplier[2], zero);
        out[3] = saturated_code(sums.d, multiplier[3], zero);
    }
}

/* The taps from *first to *last of a kernel of `size` that meet the image's `extent` from `start` on. */
static inline void clip_taps(int32_t start, int32_t extent, int32_t size, int32_t dilation, int32_t *first,
                             int32_t *last)
{
    *first = 0;
    *last = size;
    while (start + *first * dilation < 0 && *first < size)
        ++*first;
    while (start + (*last - 1) * dilation >= extent && *last > *first)
        --*last;
}

static inline channel_pairs weights_of_tap(const four_channels *f, int32_t tap)
{
    const int8_t *w = f->layer->weights + tap * f->layer->shape.channels + f->channel;
    return widen_channels(f->count == 4 ? load_four(w) : load_few(w, f->count), 0);
}

/* Widens the weights, and takes the biases back to what they are without a zero point. */
static void prepare_channels(four_channels *f)
{
    const conv_int8 *layer = f->layer;
    const int32_t *bias = layer->bias + f->channel, zero = layer->zero_in;
    const int32_t taps = layer->shape.kernel_height * layer->shape.kernel_width;
    const channel_pairs ones = {0x00010001, 0x00010001};
    channel_sums sums = {0, 0, 0, 0};
    for (int32_t tap = 0; tap < taps; tap++) {
        channel_pairs weights = weights_of_tap(f, tap);
        sums = add_products(sums, ones, weights);
        if (tap < TAPS_KEPT)
            f->weights[tap] = weights;
    }
    f->bias = (channel_sums){bias[0] + zero * sums.a, bias[1] + zero * sums.b, bias[2] + zero * sums.c,
                             bias[3] + zero * sums.d};
}

/* The same for a large kernel or fewer channels than four, tap by tap. */
static __attribute__((noinline)) void run_window_slowly(const four_channels *f, inner_window window, int32_t tap,
                                                        int8_t *out)
{
    const int32_t rows = window.rows, columns = window.columns;
    const float *multiplier = f->layer->multiplier + f->channel;
    channel_sums sums = f->bias;
    for (int32_t row = 0; row < rows; row++) {
        for (int32_t column = 0; column < columns; column++, tap++, window.x += window.column_step)
            sums = add_products(sums, widen_channels(load_few(window.x, f->count), f->minus_zero),
                                weights_of_tap(f, tap));
        tap += window.weight_gap;
        window.x += window.row_gap;
    }
    int32_t all[4] = {sums.a, sums.b, sums.c, sums.d};
    for (int32_t i = 0; i < f->count; i++)
        out[i] = saturated_code(all[i], multiplier[i], f->layer->zero_out);
}

/* One row of the output, whose windows start at the image's row `top`. */
static void run_depthwise_row(const four_channels *f, const int8_t *in, int32_t top, int8_t *out)
{
    const geometry *g = &f->layer->shape;
    const int32_t step = g->dilation_width * g->channels, row_step = g->dilation_height * g->width * g->channels;
    const int32_t right = g->width - (g->kernel_width - 1) * g->dilation_width, columns = g->kernel_width;
    int32_t first_row, last_row;
    clip_taps(top, g->height, g->kernel_height, g->dilation_height, &first_row, &last_row);
    in += (top + first_row * g->dilation_height) * g->width * g->channels + f->channel;
    const inner_window all = {in, f->weights + first_row * columns, last_row - first_row, columns, step,
                              row_step - columns * step, 0};
    const int32_t fast = f->count == 4 && g->kernel_height * columns <= TAPS_KEPT;
    for (int32_t x = 0, pixels; x < g->out_width; x += pixels) {
        inner_window window = all;
        int32_t first = 0, last, left = x * g->stride_width - g->pad_left;
        if (fast && left >= 0 && left < right) {
            pixels = (right - 1 - left) / g->stride_width + 1;
            pixels = pixels < g->out_width - x ? pixels : g->out_width - x;
        } else {
            pixels = 1;
            clip_taps(left, g->width, columns, g->dilation_width, &first, &last);
            window.columns = last - first;
            window.w += first;
            window.rows = window.columns > 0 ? all.rows : 0;
            window.row_gap = row_step - window.columns * step;
            window.weight_gap = columns - window.columns;
        }
        window.x = in + (left + first * g->dilation_width) * g->channels;
        if (fast)
            run_windows(f, window, pixels, out + x * g->channels);
        else
            run_window_slowly(f, window, first_row * columns + first, out + x * g->channels);
    }
}

/* Most layers use all codes; the others pay for their limits here. */
static void clamp_layer(const conv_int8 *layer, int8_t *out)
{
    const geometry *g = &layer->shape;
    int32_t count = g->out_height * g->out_width * g->channels;
    if (layer->low == -128 && layer->high == 127)
        return;
    for (int32_t i = 0; i < count; i++) {
        int32_t code = out[i] < layer->low ? layer->low : out[i];
        out[i] = (int8_t)(code > layer->high ? layer->high : code);
    }
}

/* in[height][width][channels] to out[out_height][out_width][channels], every channel with a kernel of its own. The last
   four channels may overlap those before them. */
static void run_depthwise_int8(const conv_int8 *layer, const int8_t *in, int8_t *out)
{
    const geometry *g = &layer->shape;
    four_channels f = {.layer = layer, .count = g->channels < 4 ? g->channels : 4};
    f.minus_zero = (int32_t)((uint32_t)-layer->zero_in << 16 | (uint32_t)(-layer->zero_in & 0xffff));
    for (int32_t channel = 0; channel < g->channels; channel += 4) {
        f.channel = channel + f.count > g->channels ? g->channels - f.count : channel;
        prepare_channels(&f);
        for (int32_t y = 0; y < g->out_height; y++)
            run_depthwise_row(&f, in, y * g->stride_height - g->pad_top,
                              out + y * g->out_width * g->channels + f.channel);
    }
    clamp_layer(layer, out);
}
