#include <immintrin.h>

enum { BINARY_TILE = 16 };

/* 64 output channels, one in each 32-bit lane. */
typedef struct {
    __m512i a, b, c, d;
} binary_lanes;

static ALWAYS_INLINE __m512i add_differing(__m512i sum, __m512i x, __m512i y)
{
    return _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(x, y)));
}

/* 32 input channels of one pixel in every lane. x86 stores the low half of a uint64_t first. */
static ALWAYS_INLINE __m512i every_lane(const char *word)
{
    int32_t channels;
    memcpy(&channels, word, sizeof channels);
    return _mm512_set1_epi32(channels);
}

static ALWAYS_INLINE void count_64(binary_lanes *sum, const char *word, const binary_lanes *w)
{
    __m512i pixel = every_lane(word);
    sum->a = add_differing(sum->a, pixel, w->a);
    sum->b = add_differing(sum->b, pixel, w->b);
    sum->c = add_differing(sum->c, pixel, w->c);
    sum->d = add_differing(sum->d, pixel, w->d);
}

static ALWAYS_INLINE binary_lanes load_64(const uint64_t *weights)
{
    binary_lanes w = {_mm512_loadu_si512(weights), _mm512_loadu_si512(weights + 8), _mm512_loadu_si512(weights + 16),
                      _mm512_loadu_si512(weights + 24)};
    __asm__("" : "+v"(w.a), "+v"(w.b), "+v"(w.c), "+v"(w.d)); /* or gcc loads them again for every pixel */
    return w;
}

/* Four pixels and 64 output channels: a load of weights serves four pixels, and the sixteen sums stay in registers. */
static ALWAYS_INLINE void count_4x64(const binary_region *r, const uint64_t *in,
                                                             const int32_t *pixels, const uint64_t *weights,
                                                             binary_lanes *sums)
{
    __m512i zero = _mm512_setzero_si512();
    binary_lanes first = {zero, zero, zero, zero}, second = first, third = first, fourth = first;
    const char *word = (const char *)in + 4 * (ptrdiff_t)pixels[0];
    ptrdiff_t to_second = 4 * (ptrdiff_t)(pixels[1] - pixels[0]);
    ptrdiff_t to_third = 4 * (ptrdiff_t)(pixels[2] - pixels[0]);
    ptrdiff_t to_fourth = 4 * (ptrdiff_t)(pixels[3] - pixels[0]);
    weights += 32 * (ptrdiff_t)r->first_weights;
    for (int32_t rows = r->tap_rows; rows > 0; rows--) {
        for (int32_t runs = r->runs; runs > 0; runs--) {
            for (int32_t left = r->run_length; left > 0; left--) {
                binary_lanes w = load_64(weights);
                count_64(&first, word, &w);
                count_64(&second, word + to_second, &w);
                count_64(&third, word + to_third, &w);
                count_64(&fourth, word + to_fourth, &w);
                word += 4;
                weights += 32;
            }
            word += 4 * (ptrdiff_t)r->to_run;
        }
        word += 4 * (ptrdiff_t)r->to_tap_row;
        weights += 32 * (ptrdiff_t)r->to_weights;
    }
    sums[0] = first;
    sums[1] = second;
    sums[2] = third;
    sums[3] = fourth;
}

static ALWAYS_INLINE binary_lanes count_1x64(const binary_region *r, const uint64_t *in,
                                                                     int32_t pixel, const uint64_t *weights)
{
    __m512i zero = _mm512_setzero_si512();
    binary_lanes sum = {zero, zero, zero, zero};
    const char *word = (const char *)in + 4 * (ptrdiff_t)pixel;
    weights += 32 * (ptrdiff_t)r->first_weights;
    for (int32_t rows = r->tap_rows; rows > 0; rows--) {
        for (int32_t runs = r->runs; runs > 0; runs--) {
            for (int32_t left = r->run_length; left > 0; left--) {
                binary_lanes w = load_64(weights);
                count_64(&sum, word, &w);
                word += 4;
                weights += 32;
            }
            word += 4 * (ptrdiff_t)r->to_run;
        }
        word += 4 * (ptrdiff_t)r->to_tap_row;
        weights += 32 * (ptrdiff_t)r->to_weights;
    }
    return sum;
}

/* Four pixels and the up to 16 output channels of `mask`, in a block of `pairs` * 2. */
static void count_4x16(const binary_region *r, const uint64_t *in, const int32_t *pixels, const uint64_t *weights,
                       int32_t pairs, __mmask16 mask, __m512i *sums)
{
    __m512i first = _mm512_setzero_si512(), second = first, third = first, fourth = first;
    const char *words = (const char *)in;
    ptrdiff_t to_first = 4 * (ptrdiff_t)pixels[0], to_second = 4 * (ptrdiff_t)pixels[1];
    ptrdiff_t to_third = 4 * (ptrdiff_t)pixels[2], to_fourth = 4 * (ptrdiff_t)pixels[3];
    weights += (ptrdiff_t)pairs * r->first_weights;
    for (int32_t rows = r->tap_rows; rows > 0; rows--) {
        for (int32_t runs = r->runs; runs > 0; runs--) {
            for (int32_t left = r->run_length; left > 0; left--) {
                __m512i w = _mm512_maskz_loadu_epi32(mask, weights);
                first = add_differing(first, every_lane(words + to_first), w);
                second = add_differing(second, every_lane(words + to_second), w);
                third = add_differing(third, every_lane(words + to_third), w);
                fourth = add_differing(fourth, every_lane(words + to_fourth), w);
                words += 4;
                weights += pairs;
            }
            words += 4 * (ptrdiff_t)r->to_run;
        }
        words += 4 * (ptrdiff_t)r->to_tap_row;
        weights += (ptrdiff_t)pairs * r->to_weights;
    }
    sums[0] = first;
    sums[1] = second;
    sums[2] = third;
    sums[3] = fourth;
}

/* Up to four pixels and the block of less than 64 output channels that ends a layer. */
static void count_narrow(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                         const uint64_t *weights, int32_t width, binary_lanes *sums)
{
    int32_t four[4];
    __m512i strips[4][4];
    for (int32_t i = 0; i < 4; i++)
        four[i] = pixels[i < count ? i : 0];
    for (int32_t i = 0; i < 4; i++) {
        __mmask16 mask = (__mmask16)(width - 16 * i >= 16 ? 0xffff : width - 16 * i > 0 ? 0xff : 0);
        if (mask != 0)
            count_4x16(r, in, four, weights + 8 * i, width / 2, mask, strips[i]);
        else
            memset(strips[i], 0, sizeof strips[i]);
    }
    for (int32_t i = 0; i < count && i < 4; i++) {
        binary_lanes lanes = {strips[0][i], strips[1][i], strips[2][i], strips[3][i]};
        sums[i] = lanes;
    }
}
