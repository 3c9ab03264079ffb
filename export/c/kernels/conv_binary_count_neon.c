#include <arm_neon.h>

enum {
    BINARY_TILE = 16,
    BINARY_CHUNK = 31 /* rows of weights whose counts fit a byte: a row adds up to 8 */
};

/* Rows of weights and the input words that meet them, both counted from a pixel's and a block's first. */
typedef struct {
    int32_t words[BINARY_CHUNK], weights[BINARY_CHUNK], rows;
} binary_chunk;

/* Eight output channels, four bytes each. */
typedef struct {
    uint8x16_t low, high;
} binary_bytes;

static ALWAYS_INLINE void add_differing(binary_bytes *sum, const uint32_t *word, const binary_bytes *w)
{
    uint8x16_t pixel = vreinterpretq_u8_u32(vld1q_dup_u32(word));
    sum->low = vaddq_u8(sum->low, vcntq_u8(veorq_u8(pixel, w->low)));
    sum->high = vaddq_u8(sum->high, vcntq_u8(veorq_u8(pixel, w->high)));
}

static ALWAYS_INLINE binary_bytes weights_8(const uint64_t *weights)
{
    binary_bytes w = {vreinterpretq_u8_u64(vld1q_u64(weights)), vreinterpretq_u8_u64(vld1q_u64(weights + 2))};
    return w;
}

static ALWAYS_INLINE void add_counts(int32_t *counts, const binary_bytes *sum)
{
    uint32x4_t low = vpaddlq_u16(vpaddlq_u8(sum->low)), high = vpaddlq_u16(vpaddlq_u8(sum->high));
    vst1q_s32(counts, vaddq_s32(vld1q_s32(counts), vreinterpretq_s32_u32(low)));
    vst1q_s32(counts + 4, vaddq_s32(vld1q_s32(counts + 4), vreinterpretq_s32_u32(high)));
}

static ALWAYS_INLINE const uint32_t *words_at(const uint64_t *in, int32_t word)
{
    return (const uint32_t *)(const void *)in + word;
}

/* Four pixels and eight output channels. */
static void count_4x8(const binary_chunk *chunk, const uint64_t *in, const int32_t *pixels, const uint64_t *weights,
                      int32_t (*counts)[64])
{
    const uint8x16_t zero = vdupq_n_u8(0);
    binary_bytes a = {zero, zero}, b = a, c = a, d = a;
    const uint32_t *first = words_at(in, pixels[0]), *second = words_at(in, pixels[1]);
    const uint32_t *third = words_at(in, pixels[2]), *fourth = words_at(in, pixels[3]);
    for (int32_t row = 0; row < chunk->rows; row++) {
        int32_t word = chunk->words[row];
        binary_bytes w = weights_8(weights + chunk->weights[row]);
        add_differing(&a, first + word, &w);
        add_differing(&b, second + word, &w);
        add_differing(&c, third + word, &w);
        add_differing(&d, fourth + word, &w);
    }
    add_counts(counts[0], &a);
    add_counts(counts[1], &b);
    add_counts(counts[2], &c);
    add_counts(counts[3], &d);
}

static void count_1x8(const binary_chunk *chunk, const uint64_t *in, int32_t pixel, const uint64_t *weights,
                      int32_t *counts)
{
    const uint8x16_t zero = vdupq_n_u8(0);
    binary_bytes sum = {zero, zero};
    for (int32_t row = 0; row < chunk->rows; row++) {
        binary_bytes w = weights_8(weights + chunk->weights[row]);
        add_differing(&sum, words_at(in, pixel) + chunk->words[row], &w);
    }
    add_counts(counts, &sum);
}

/* Adds the counts of a chunk's rows, for every pixel of a tile and every output channel of a block. */
static void count_chunk(binary_chunk *chunk, const uint64_t *in, const int32_t *pixels, int32_t count,
                        const uint64_t *weights, int32_t width, int32_t (*counts)[64])
{
    for (int32_t channel = 0; channel < width; channel += 8) {
        int32_t i = 0;
        for (; i + 4 <= count; i += 4)
            count_4x8(chunk, in, pixels + i, weights + channel / 2, (int32_t (*)[64])(counts[i] + channel));
        for (; i < count; i++)
            count_1x8(chunk, in, pixels[i], weights + channel / 2, counts[i] + channel);
    }
    chunk->rows = 0;
}

static void count_tile(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                       const uint64_t *weights, int32_t width, int32_t (*counts)[64])
{
    int32_t word = 0, row = r->first_weights * (width / 2);
    binary_chunk chunk;
    chunk.rows = 0;
    memset(counts, 0, (size_t)count * sizeof *counts);
    for (int32_t tap_rows = r->tap_rows; tap_rows > 0; tap_rows--) {
        for (int32_t runs = r->runs; runs > 0; runs--) {
            for (int32_t left = r->run_length; left > 0; left--) {
                chunk.words[chunk.rows] = word++;
                chunk.weights[chunk.rows++] = row;
                row += width / 2;
                if (chunk.rows == BINARY_CHUNK)
                    count_chunk(&chunk, in, pixels, count, weights, width, counts);
            }
            word += r->to_run;
        }
        word += r->to_tap_row;
        row += r->to_weights * (width / 2);
    }
    count_chunk(&chunk, in, pixels, count, weights, width, counts);
}
