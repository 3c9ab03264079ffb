#include <arm_neon.h>

/* Sums of sixteen neighbouring channels, or of eight in the first two. */
typedef struct {
    int32x4_t a, b, c, d;
} channel_sums;

/* A window in the image: where its first tap lies. */
typedef struct {
    const conv_int8 *layer;
    const int8_t *in;
    int32_t top, left;
} pixel_window;

/* The codes of a tap from `channel` on, or null where it lies beside the image. */
static inline const int8_t *codes_of_tap(const pixel_window *at, int32_t ky, int32_t kx, int32_t channel)
{
    const geometry *g = &at->layer->shape;
    int32_t y = at->top + ky * g->dilation_height, x = at->left + kx * g->dilation_width;
    if (y < 0 || y >= g->height || x < 0 || x >= g->width)
        return 0;
    return at->in + (y * g->width + x) * g->channels + channel;
}

/* Eight codes, of which only `count` may be read. */
static inline int8x8_t load_eight(const int8_t *from, int32_t count)
{
    int8_t codes[8] = {0};
    if (count >= 8)
        return vld1_s8(from);
    for (int32_t i = 0; i < count; i++)
        codes[i] = from[i];
    return vld1_s8(codes);
}

static inline void add_eight(int32x4_t *low, int32x4_t *high, int8x8_t x, int8x8_t w)
{
    int16x8_t products = vmull_s8(x, w);
    *low = vaddw_s16(*low, vget_low_s16(products));
    *high = vaddw_high_s16(*high, products);
}

/* The sums of up to eight channels, or of sixteen if `both`, without the bias. */
static inline __attribute__((always_inline)) channel_sums sum_window(const pixel_window *at, int32_t channel,
                                                                     int32_t count, const int both)
{
    const geometry *g = &at->layer->shape;
    const int8_t *w = at->layer->weights + channel;
    const int32x4_t none = vdupq_n_s32(0);
    channel_sums sums = {none, none, none, none};
    for (int32_t ky = 0; ky < g->kernel_height; ky++) {
        for (int32_t kx = 0; kx < g->kernel_width; kx++, w += g->channels) {
            const int8_t *codes = codes_of_tap(at, ky, kx, channel);
            int8x8_t x = vdup_n_s8((int8_t)at->layer->zero_in), more = x;
            if (codes)
                x = load_eight(codes, count);
            add_eight(&sums.a, &sums.b, x, load_eight(w, count));
            if (both && codes)
                more = vld1_s8(codes + 8);
            if (both)
                add_eight(&sums.c, &sums.d, more, vld1_s8(w + 8));
        }
    }
    return sums;
}

static inline int16x4_t requantize_four(const conv_int8 *layer, int32x4_t sums, int32_t channel)
{
    sums = vaddq_s32(sums, vld1q_s32(layer->bias + channel));
    float32x4_t scaled = vmulq_f32(vcvtq_f32_s32(sums), vld1q_f32(layer->multiplier + channel));
    scaled = vmaxq_f32(scaled, vdupq_n_f32((float)(layer->low - layer->zero_out)));
    scaled = vminq_f32(scaled, vdupq_n_f32((float)(layer->high - layer->zero_out)));
    return vmovn_s32(vaddq_s32(vcvtnq_s32_f32(scaled), vdupq_n_s32(layer->zero_out)));
}

static inline int8x8_t requantize_eight(const conv_int8 *layer, int32x4_t low, int32x4_t high, int32_t channel)
{
    return vmovn_s16(vcombine_s16(requantize_four(layer, low, channel), requantize_four(layer, high, channel + 4)));
}

static void run_sixteen_channels(const pixel_window *at, int32_t channel, int8_t *out)
{
    channel_sums sums = sum_window(at, channel, 8, 1);
    vst1_s8(out, requantize_eight(at->layer, sums.a, sums.b, channel));
    vst1_s8(out + 8, requantize_eight(at->layer, sums.c, sums.d, channel + 8));
}

static void run_eight_channels(const pixel_window *at, int32_t channel, int8_t *out)
{
    channel_sums sums = sum_window(at, channel, 8, 0);
    vst1_s8(out, requantize_eight(at->layer, sums.a, sums.b, channel));
}

/* A layer of fewer than eight channels. */
static void run_few_channels(const pixel_window *at, int8_t *out)
{
    const int32_t count = at->layer->shape.channels;
    channel_sums sums = sum_window(at, 0, count, 0);
    int16x4_t low = requantize_four(at->layer, sums.a, 0), high = low;
    int8_t codes[8];
    if (count > 4)
        high = requantize_four(at->layer, sums.b, 4);
    vst1_s8(codes, vmovn_s16(vcombine_s16(low, high)));
    memcpy(out, codes, (size_t)count);
}

/* All channels of a pixel; the last eight may overlap those before them. */
static inline void run_pixel(const pixel_window *at, int8_t *out)
{
    const int32_t channels = at->layer->shape.channels;
    int32_t channel = 0;
    if (channels < 8) {
        run_few_channels(at, out);
        return;
    }
    for (; channel + 16 <= channels; channel += 16)
        run_sixteen_channels(at, channel, out + channel);
    for (; channel < channels; channel += 8) {
        int32_t first = channel + 8 <= channels ? channel : channels - 8;
        run_eight_channels(at, first, out + first);
    }
}

/* in[height][width][channels] to out[out_height][out_width][channels], every channel with a kernel of its own. */
static void run_depthwise_int8(const conv_int8 *layer, const int8_t *in, int8_t *out)
{
    const geometry *g = &layer->shape;
    for (int32_t y = 0; y < g->out_height; y++) {
        for (int32_t x = 0; x < g->out_width; x++, out += g->channels) {
            pixel_window at = {layer, in, y * g->stride_height - g->pad_top, x * g->stride_width - g->pad_left};
            run_pixel(&at, out);
        }
    }
}
