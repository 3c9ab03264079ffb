#include <immintrin.h>

/* AVX2 counts no bits, but its byte shuffle looks up 32 values at once. A table answers for four input channels of two
   pixels; nibbles of weights, of 32 output channels, are the indices. They are sorted once for all pixels of a tile. */
enum {
    BINARY_TILE = 48,
    BINARY_CHUNK = 7,      /* rows of weights whose counts fit a byte: 7 * 32 */
    BINARY_NARROW = 1016   /* rows whose counts, and those of a chunk more, fit an int16_t: 1023 * 32 */
};

/* Rows of weights as nibbles, 32 output channels in a vector, and where in the input they meet a pixel. In a row the
   nibbles' order is 0, 2, 4, 6, 1, 3, 5, 7. */
typedef struct {
    __m256i nibbles[BINARY_CHUNK][2][8];
    int32_t words[BINARY_CHUNK], rows;
} binary_chunk;

/* Two pairs of pixels, near and far, by two halves of 64 output channels: a byte for each channel and pair. */
typedef struct {
    __m256i near_low, near_high, far_low, far_high;
} binary_pairs;

/* Eight output channels from `weights` on and the eight 16 channels further, each group's four bytes sorted. */
static ALWAYS_INLINE __m256i sorted_bytes(const uint64_t *weights)
{
    const __m256i order = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5, 9,
                                           13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m128i near = _mm_loadu_si128((const __m128i *)weights), far = _mm_loadu_si128((const __m128i *)(weights + 8));
    return _mm256_shuffle_epi8(_mm256_inserti128_si256(_mm256_castsi128_si256(near), far, 1), order);
}

static ALWAYS_INLINE void split_bytes(__m256i bytes, __m256i *low, __m256i *high)
{
    const __m256i mask = _mm256_set1_epi8(15);
    *low = _mm256_and_si256(bytes, mask);
    *high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
}

/* A row of 32 output channels, 32 bits each, as eight vectors of nibbles. */
static ALWAYS_INLINE void sort_nibbles(const uint64_t *weights, __m256i *nibbles)
{
    __m256i a = sorted_bytes(weights), b = sorted_bytes(weights + 2);
    __m256i c = sorted_bytes(weights + 4), d = sorted_bytes(weights + 6);
    __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
    __m256i ab_high = _mm256_unpackhi_epi32(a, b), cd_high = _mm256_unpackhi_epi32(c, d);
    split_bytes(_mm256_unpacklo_epi64(ab, cd), &nibbles[0], &nibbles[4]);
    split_bytes(_mm256_unpackhi_epi64(ab, cd), &nibbles[1], &nibbles[5]);
    split_bytes(_mm256_unpacklo_epi64(ab_high, cd_high), &nibbles[2], &nibbles[6]);
    split_bytes(_mm256_unpackhi_epi64(ab_high, cd_high), &nibbles[3], &nibbles[7]);
}

static void add_row(binary_chunk *chunk, int32_t word, const uint64_t *weights, int32_t width)
{
    uint64_t padded[32];
    if (width < 64) { /* the end of a layer */
        memset(padded, 0, sizeof padded);
        memcpy(padded, weights, (size_t)width * 4);
        weights = padded;
    }
    sort_nibbles(weights, chunk->nibbles[chunk->rows][0]);
    sort_nibbles(weights + 16, chunk->nibbles[chunk->rows][1]);
    chunk->words[chunk->rows++] = word;
}

/* The eight entries of differing_nibbles that one pair of pixels asks for, a byte each, in the nibbles' order. */
static ALWAYS_INLINE uint64_t table_indices(const char *first, const char *second)
{
    const uint32_t low = 0x0f0f0f0fu;
    uint32_t p, q;
    memcpy(&p, first, sizeof p);
    memcpy(&q, second, sizeof q);
    return ((p & low) | (q & low) << 4) | (uint64_t)((p >> 4 & low) | (q & ~low)) << 32;
}

static ALWAYS_INLINE __m256i table_entry(uint64_t indices, int i)
{
    const __m128i *entry = (const __m128i *)differing_nibbles[indices >> 8 * i & 0xff];
    return _mm256_broadcastsi128_si256(_mm_load_si128(entry));
}

static ALWAYS_INLINE binary_pairs look_up(uint64_t near_indices, uint64_t far_indices, const __m256i (*nibbles)[8],
                                          int i)
{
    __m256i near_table = table_entry(near_indices, i), far_table = table_entry(far_indices, i);
    binary_pairs found = {
        _mm256_shuffle_epi8(near_table, nibbles[0][i]), _mm256_shuffle_epi8(near_table, nibbles[1][i]),
        _mm256_shuffle_epi8(far_table, nibbles[0][i]), _mm256_shuffle_epi8(far_table, nibbles[1][i])};
    return found;
}

static ALWAYS_INLINE void add_entries(binary_pairs *sum, uint64_t near_indices, uint64_t far_indices,
                                      const __m256i (*nibbles)[8], int i)
{
    __m256i table = table_entry(near_indices, i);
    sum->near_low = _mm256_add_epi8(sum->near_low, _mm256_shuffle_epi8(table, nibbles[0][i]));
    sum->near_high = _mm256_add_epi8(sum->near_high, _mm256_shuffle_epi8(table, nibbles[1][i]));
    table = table_entry(far_indices, i);
    sum->far_low = _mm256_add_epi8(sum->far_low, _mm256_shuffle_epi8(table, nibbles[0][i]));
    sum->far_high = _mm256_add_epi8(sum->far_high, _mm256_shuffle_epi8(table, nibbles[1][i]));
}

static ALWAYS_INLINE void add_halves(__m256i *both, __m256i *second, __m256i sum)
{
    *both = _mm256_add_epi8(*both, sum);
    *second = _mm256_add_epi8(*second, _mm256_and_si256(_mm256_srli_epi16(sum, 4), _mm256_set1_epi8(15)));
    __asm__("" : "+x"(*both), "+x"(*second)); /* or gcc reorders the sums and runs out of registers */
}

static ALWAYS_INLINE void add_sum(binary_pairs *both, binary_pairs *second, const binary_pairs *sum)
{
    add_halves(&both->near_low, &second->near_low, sum->near_low);
    add_halves(&both->near_high, &second->near_high, sum->near_high);
    add_halves(&both->far_low, &second->far_low, sum->far_low);
    add_halves(&both->far_high, &second->far_high, sum->far_high);
}

/* One row of weights. Three entries add up in place: each half of one is at most 4. */
static ALWAYS_INLINE void count_row(binary_pairs *both, binary_pairs *second, uint64_t near_indices,
                                    uint64_t far_indices, const __m256i (*nibbles)[8])
{
    binary_pairs sum = look_up(near_indices, far_indices, nibbles, 0);
    add_entries(&sum, near_indices, far_indices, nibbles, 1);
    add_entries(&sum, near_indices, far_indices, nibbles, 2);
    add_sum(both, second, &sum);
    sum = look_up(near_indices, far_indices, nibbles, 3);
    add_entries(&sum, near_indices, far_indices, nibbles, 4);
    add_entries(&sum, near_indices, far_indices, nibbles, 5);
    add_sum(both, second, &sum);
    sum = look_up(near_indices, far_indices, nibbles, 6);
    add_entries(&sum, near_indices, far_indices, nibbles, 7);
    add_sum(both, second, &sum);
}

static ALWAYS_INLINE void add_bytes(int16_t *counts, __m256i bytes)
{
    __m256i *low = (__m256i *)counts, *high = (__m256i *)(counts + 16);
    *low = _mm256_add_epi16(*low, _mm256_cvtepu8_epi16(_mm256_castsi256_si128(bytes)));
    *high = _mm256_add_epi16(*high, _mm256_cvtepu8_epi16(_mm256_extracti128_si256(bytes, 1)));
}

/* The sums of a pair of pixels and 32 output channels, both = first + 16 * second modulo 256. */
static ALWAYS_INLINE void add_counts(int16_t (*counts)[64], __m256i both, __m256i second)
{
    __m256i high = _mm256_and_si256(_mm256_slli_epi16(second, 4), _mm256_set1_epi8(-16));
    add_bytes(counts[0], _mm256_sub_epi8(both, high));
    add_bytes(counts[1], second);
}

/* A chunk of rows and two pairs of pixels, each an input word at the chunk's words of 0. */
static __attribute__((noinline)) void count_chunk(const binary_chunk *chunk, const uint64_t *in, const int32_t *pixels,
                                                  int16_t (*counts)[64])
{
    __m256i zero = _mm256_setzero_si256();
    binary_pairs both = {zero, zero, zero, zero}, second = both;
    for (int32_t row = 0; row < chunk->rows; row++) {
        const char *words = (const char *)in + 4 * (ptrdiff_t)chunk->words[row];
        uint64_t near_indices = table_indices(words + 4 * (ptrdiff_t)pixels[0], words + 4 * (ptrdiff_t)pixels[1]);
        uint64_t far_indices = table_indices(words + 4 * (ptrdiff_t)pixels[2], words + 4 * (ptrdiff_t)pixels[3]);
        count_row(&both, &second, near_indices, far_indices, chunk->nibbles[row]);
    }
    add_counts(counts, both.near_low, second.near_low);
    add_counts((int16_t (*)[64])(counts[0] + 32), both.near_high, second.near_high);
    add_counts(counts + 2, both.far_low, second.far_low);
    add_counts((int16_t (*)[64])(counts[2] + 32), both.far_high, second.far_high);
}

/* Adds 16-bit counts to those of 32 bits and starts them anew. */
static void widen(int16_t (*narrow)[64], int32_t count, int32_t (*counts)[64])
{
    for (int32_t pixel = 0; pixel < count; pixel++) {
        for (int32_t i = 0; i < 64; i += 8) {
            __m256i *sum = (__m256i *)(counts[pixel] + i);
            __m256i more = _mm256_cvtepi16_epi32(_mm_load_si128((const __m128i *)(narrow[pixel] + i)));
            *sum = _mm256_add_epi32(*sum, more);
        }
    }
    memset(narrow, 0, BINARY_TILE * sizeof *narrow);
}

/* Adds to `narrow`, which is 0 at first; of more than BINARY_NARROW rows, what it cannot hold goes to `counts`. Pixels
   are counted by fours, so that `narrow` needs a multiple of four. */
static void count_narrow(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                         const uint64_t *weights, int32_t width, int16_t (*narrow)[64], int32_t (*counts)[64])
{
    int32_t fours[BINARY_TILE], word = 0, rows = 0;
    binary_chunk chunk;
    for (int32_t i = 0; i < (count + 3) / 4 * 4; i++)
        fours[i] = pixels[i < count ? i : count - 1];
    weights += r->first_weights * (width / 2);
    chunk.rows = 0;
    for (int32_t tap_rows = r->tap_rows; tap_rows > 0; tap_rows--) {
        for (int32_t runs = r->runs; runs > 0; runs--) {
            for (int32_t left = r->run_length; left > 0; left--) {
                add_row(&chunk, word++, weights, width);
                weights += width / 2;
                if (chunk.rows < BINARY_CHUNK && (left > 1 || runs > 1 || tap_rows > 1))
                    continue;
                for (int32_t i = 0; i < count; i += 4)
                    count_chunk(&chunk, in, fours + i, narrow + i);
                rows += chunk.rows;
                chunk.rows = 0;
                if (rows > BINARY_NARROW) {
                    widen(narrow, count, counts);
                    rows = 0;
                }
            }
            word += r->to_run;
        }
        word += r->to_tap_row;
        weights += r->to_weights * (width / 2);
    }
}

static void count_tile(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                       const uint64_t *weights, int32_t width, int32_t (*counts)[64])
{
    ALIGNED int16_t narrow[BINARY_TILE][64] = {{0}};
    memset(counts, 0, (size_t)count * sizeof *counts);
    count_narrow(r, in, pixels, count, weights, width, narrow, counts);
    widen(narrow, count, counts);
}
