#include <stddef.h>

#if defined(__GNUC__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE inline
#endif

/* Output positions along one axis whose windows have the same taps inside the image. */
typedef struct {
    int32_t begin, end;
    int32_t tap_begin, tap_end;
} binary_span;

/* A rectangle of output pixels whose windows have the same taps inside the image. Its pixels can share a tile of any
   shape, and none of them tests for the border. The input is counted in 32-bit words, and "to" means a step from where
   the walk over the part before ends. */
typedef struct {
    int32_t pixels, columns;
    int32_t in, out;                     /* the first pixel: its first tap inside the image, its index */
    int32_t to_pixel, to_row, to_out;    /* input to the next pixel and on to the next row; output likewise */
    int32_t first_weights;               /* rows of weights before the first tap */
    int32_t tap_rows, runs, run_length;  /* a row of taps is runs of words that lie together in input and weights */
    int32_t to_run, to_tap_row;          /* input to the next run, and on to the next row of taps */
    int32_t to_weights;                  /* rows of weights to the next row of taps */
    int32_t missing;                     /* products in the padding */
} binary_region;

/* Where the walk over a region stands: an output pixel's first tap as an input word, its index, its column. */
typedef struct {
    int32_t in, out, column;
} binary_pixel;

enum { BINARY_REGIONS = 9 }; /* as many as a 3 x 3 kernel with padding has */

static int32_t binary_words(int32_t channels)
{
    return (channels + 31) / 32;
}

/* The output channels of a block, padded; only the last has less than 64. */
static int32_t block_width(const geometry *g, int32_t block)
{
    int32_t left = (g->out_channels - 64 * block + 7) / 8 * 8;
    return left < 64 ? left : 64;
}

/* The words of weights before a block. */
static ptrdiff_t block_weights(const geometry *g, int32_t block)
{
    return (ptrdiff_t)32 * block * g->kernel_height * g->kernel_width * binary_words(g->channels);
}

static void taps_inside(binary_span *span, int32_t origin, int32_t size, int32_t kernel, int32_t dilation)
{
    int32_t begin = origin < 0 ? (dilation - 1 - origin) / dilation : 0;
    int32_t end = origin < size ? (size - origin + dilation - 1) / dilation : 0;
    end = end < kernel ? end : kernel;
    span->tap_begin = begin < end ? begin : 0;
    span->tap_end = begin < end ? end : 0;
}

/* The span that starts at output position `begin`. */
static binary_span span_from(int32_t begin, int32_t out_size, int32_t size, int32_t kernel, int32_t stride, int32_t pad,
                             int32_t dilation)
{
    binary_span span = {begin, begin + 1, 0, 0};
    taps_inside(&span, begin * stride - pad, size, kernel, dilation);
    while (span.end < out_size) {
        binary_span next;
        taps_inside(&next, span.end * stride - pad, size, kernel, dilation);
        if (next.tap_begin != span.tap_begin || next.tap_end != span.tap_end)
            break;
        span.end++;
    }
    return span;
}

static binary_region region_of(const geometry *g, const binary_span *rows, const binary_span *columns)
{
    int32_t words = binary_words(g->channels), pixel_words = (g->channels + 63) / 64 * 2;
    int32_t tap_rows = rows->tap_end - rows->tap_begin, tap_columns = columns->tap_end - columns->tap_begin;
    int together = g->dilation_width == 1 && words == pixel_words;
    int32_t y = rows->begin * g->stride_height - g->pad_top + rows->tap_begin * g->dilation_height;
    int32_t x = columns->begin * g->stride_width - g->pad_left + columns->tap_begin * g->dilation_width;
    binary_region r;
    r.columns = columns->end - columns->begin;
    r.pixels = (rows->end - rows->begin) * r.columns;
    r.in = tap_rows > 0 && tap_columns > 0 ? (y * g->width + x) * pixel_words : 0;
    r.out = rows->begin * g->out_width + columns->begin;
    r.to_pixel = g->stride_width * pixel_words;
    r.to_row = g->stride_height * g->width * pixel_words - r.columns * r.to_pixel;
    r.to_out = g->out_width - r.columns;
    r.first_weights = (rows->tap_begin * g->kernel_width + columns->tap_begin) * words;
    r.tap_rows = tap_columns > 0 ? tap_rows : 0;
    r.runs = together ? 1 : tap_columns;
    r.run_length = together ? tap_columns * words : words;
    r.to_run = together ? 0 : g->dilation_width * pixel_words - words;
    r.to_tap_row = g->dilation_height * g->width * pixel_words - r.runs * (r.run_length + r.to_run);
    r.to_weights = (g->kernel_width - tap_columns) * words;
    r.missing = (g->kernel_height * g->kernel_width - tap_rows * tap_columns) * g->channels;
    return r;
}

/* Up to BINARY_REGIONS regions from output position (`*y`, `*x`) on, which moves behind them. Returns their number, 0
   behind the last. In batches, because their number has no bound and a list of all would need memory. */
static int32_t next_regions(const geometry *g, int32_t *y, int32_t *x, binary_region *regions)
{
    int32_t count = 0;
    while (*y < g->out_height && count < BINARY_REGIONS) {
        binary_span rows = span_from(*y, g->out_height, g->height, g->kernel_height, g->stride_height, g->pad_top,
                                     g->dilation_height);
        binary_span columns = span_from(*x, g->out_width, g->width, g->kernel_width, g->stride_width, g->pad_left,
                                        g->dilation_width);
        regions[count++] = region_of(g, &rows, &columns);
        *x = columns.end < g->out_width ? columns.end : 0;
        *y = columns.end < g->out_width ? *y : rows.end;
    }
    return count;
}

/* The next `count` pixels: where in the input each starts and its index. */
static void next_pixels(const binary_region *region, binary_pixel *at, int32_t count, int32_t *in, int32_t *out)
{
    binary_pixel pixel = *at;
    for (int32_t i = 0; i < count; i++) {
        in[i] = pixel.in;
        out[i] = pixel.out++;
        pixel.in += region->to_pixel;
        if (++pixel.column == region->columns) {
            pixel.column = 0;
            pixel.in += region->to_row;
            pixel.out += region->to_out;
        }
    }
    *at = pixel;
}
