/* Draws and pulses of synapse devices; draws.py and cells.py say the same in PyTorch, and give the same bits.
 *
 * Sixteen lanes at a time, in GCC's and Clang's vector extension; what it has no word for (compress, expand, count of
 * bits) is written twice, for AVX-512 and lane by lane. Nothing here may be contracted or reordered: the file is
 * compiled with -ffp-contract=off. LOG, SIN, COS, LN2 and EIGHTH_TURN come from draws.py, in front of this text.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__) && defined(__AVX512VPOPCNTDQ__)
#include <immintrin.h>
#define WIDE 1
#else
#define WIDE 0
#endif

#define LANES 16
typedef uint32_t words __attribute__((vector_size(64), aligned(4)));
typedef int32_t whole __attribute__((vector_size(64), aligned(4)));
typedef float real __attribute__((vector_size(64), aligned(4)));

/* ---- draws ---------------------------------------------------------------------------------------------------- */

static inline words rotated(words x, int by) { return (x << by) | (x >> (32 - by)); }

static inline void four_rounds(words *x0, words *x1, int a, int b, int c, int d)
{
    *x0 += *x1; *x1 = rotated(*x1, a) ^ *x0;
    *x0 += *x1; *x1 = rotated(*x1, b) ^ *x0;
    *x0 += *x1; *x1 = rotated(*x1, c) ^ *x0;
    *x0 += *x1; *x1 = rotated(*x1, d) ^ *x0;
}

/* Threefry-2x32-20. */
static inline void threefry(uint32_t seed, words key, words *x0, words *x1)
{
    const words parity = key ^ (seed ^ 0x1BD11BDAu);
    *x0 += seed; *x1 += key;
    four_rounds(x0, x1, 13, 15, 26, 6); *x0 += key; *x1 += parity + 1;
    four_rounds(x0, x1, 17, 29, 16, 24); *x0 += parity; *x1 += seed + 2;
    four_rounds(x0, x1, 13, 15, 26, 6); *x0 += seed; *x1 += key + 3;
    four_rounds(x0, x1, 17, 29, 16, 24); *x0 += key; *x1 += parity + 4;
    four_rounds(x0, x1, 13, 15, 26, 6); *x0 += parity; *x1 += seed + 5;
}

static inline real chosen(whole mask, real yes, real no) { return (real)(((whole)yes & mask) | ((whole)no & ~mask)); }
static inline real as_real(whole x) { return __builtin_convertvector(x, real); }

static inline real root(real x)
{
#if WIDE
    return (real)_mm512_sqrt_ps((__m512)x);
#else
    for (int i = 0; i < LANES; i++) x[i] = sqrtf(x[i]);
    return x;
#endif
}

static inline real radius(words word)
{
    real x = as_real((whole)(word >> 1)) + 0.5f;
    whole bits = (whole)x;
    whole exponent = (bits - 0x3F3504F3) >> 23;
    real f = (real)(bits - (exponent << 23)) - 1.0f;
    real p = (real){0} + LOG[7];
    for (int i = 6; i >= 0; i--) p = p * f + LOG[i];
    real log = f + (f * f) * p;
    log = as_real(exponent - 31) * LN2 + log;
    log = log * -2.0f;
    return root((real)((whole)log & (log >= 0.0f)));
}

static inline real spread(float x) { return (real){0} + x; }

/* The cosine's, or where `second` is set the sine's, of two independent normal numbers. */
static inline real normal(words word0, words word1, whole second)
{
    words quarter = (word1 + (1u << 29)) >> 30; /* wraps to 0 in the last eighth, where the angle is then negative */
    real angle = as_real((whole)(word1 - (quarter << 30))) * EIGHTH_TURN;
    real square = angle * angle;
    real s = spread(SIN[3]), c = spread(COS[3]);
    for (int i = 2; i >= 0; i--) { s = s * square + SIN[i]; c = c * square + COS[i]; }
    real sine = angle + angle * (square * s), cosine = 1.0f + square * c;
    whole odd = (whole)((quarter & 1u) == 1u);
    whole below = (whole)((quarter & 2u) == 2u), left = (whole)(((quarter + 1u) & 2u) == 2u);
    real value = chosen(odd ^ second, sine, cosine);
    whole negative = (below & second) | (left & ~second);
    value = (real)((words)value ^ ((words)negative & 0x80000000u));
    return radius(word0) * value;
}

static const words ORDER = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* The first `left` lanes, or all; a copy of known length is one instruction. */
static inline void get(void *lanes, const void *from, int64_t left)
{
    if (left >= LANES) memcpy(lanes, from, 64);
    else memcpy(lanes, from, (size_t)left * 4);
}

static inline void put(void *to, const void *lanes, int64_t left)
{
    if (left >= LANES) memcpy(to, lanes, 64);
    else memcpy(to, lanes, (size_t)left * 4);
}

/* Standard normal numbers of the cells first, first + 1, ... Words first, then numbers: in one loop the chain from a
 * counter to its number is so long that few are under way at once, which takes 1.6 times as long. */
void normals(uint32_t seed, uint32_t key, uint32_t step, uint32_t first, int64_t count, float *out)
{
    enum { CHUNK = 1024 };
    uint32_t word0[CHUNK], word1[CHUNK];
    for (int64_t chunk = 0; chunk < count; chunk += CHUNK) {
        int64_t end = count - chunk < CHUNK ? count - chunk : CHUNK;
        for (int64_t at = 0; at < end; at += LANES) {
            words x0 = ORDER + (first + (uint32_t)(chunk + at)), x1 = (words){0} + step;
            threefry(seed, (words){0} + key, &x0, &x1);
            put(word0 + at, &x0, LANES);
            put(word1 + at, &x1, LANES);
        }
        for (int64_t at = 0; at < end; at += LANES) {
            words x0, x1;
            get(&x0, word0 + at, LANES);
            get(&x1, word1 + at, LANES);
            real z = normal(x0, x1, (whole){0});
            put(out + chunk + at, &z, end - at);
        }
    }
}

/* Uniform numbers in [0, 1) of the cells first, first + 1, ... */
void uniforms(uint32_t seed, uint32_t key, uint32_t step, uint32_t first, int64_t count, float *out)
{
    for (int64_t at = 0; at < count; at += LANES) {
        words x0 = ORDER + (first + (uint32_t)at), x1 = (words){0} + step;
        threefry(seed, (words){0} + key, &x0, &x1);
        real u = as_real((whole)(x0 >> 8)) * 0x1p-24f;
        put(out + at, &u, count - at);
    }
}

/* ---- pulses --------------------------------------------------------------------------------------------------- */

/* One array of cells. A pulse moves a cell from w to w + s (1 + relative z) + additive z, kept within [low, high],
 * where s = offset + slope w in the pulse's direction and z is the pulse's own normal number. Slopes may be NULL. */
struct cells {
    float *state;
    const float *offset_up, *slope_up, *offset_down, *slope_down, *low, *high;
    int64_t rows, columns;
    uint32_t seed, key;
    float relative, additive;
};

/* Sixteen neighbours, in registers while they are pulsed. */
struct block {
    real state, offset_up, slope_up, offset_down, slope_down, low, high;
};

static inline real loaded(const float *from, int64_t at, int64_t left)
{
    real x = {0};
    get(&x, from + at, left);
    return x;
}

static inline struct block block_at(const struct cells *c, int64_t at, int64_t left)
{
    struct block b = {loaded(c->state, at, left), loaded(c->offset_up, at, left), {0}, loaded(c->offset_down, at, left),
                      {0}, loaded(c->low, at, left), loaded(c->high, at, left)};
    if (c->slope_up) { b.slope_up = loaded(c->slope_up, at, left); b.slope_down = loaded(c->slope_down, at, left); }
    return b;
}

static inline real kept(real x, real low, real high)
{
#if WIDE
    return (real)_mm512_min_ps((__m512)high, _mm512_max_ps((__m512)low, (__m512)x));
#else
    x = chosen(low > x, low, x);
    return chosen(high < x, high, x);
#endif
}

/* `yes` in the lanes whose bits are set, `no` in the others. */
static inline real picked(uint32_t bits, real yes, real no)
{
#if WIDE
    return (real)_mm512_mask_blend_ps((__mmask16)bits, (__m512)no, (__m512)yes);
#else
    const words one = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    return chosen((whole)((one & bits) != 0u), yes, no);
#endif
}

/* Lanes that no pulse reaches take a step of zero, and lie within their bounds already. */
static inline void pulse(struct block *b, uint32_t lanes, uint32_t up, real z, const struct cells *c)
{
    real step = picked(up, b->offset_up, b->offset_down);
    if (c->slope_up) step = step + picked(up, b->slope_up, b->slope_down) * b->state;
    step = picked(lanes, step * (1.0f + c->relative * z), (real){0});
    b->state = b->state + step;
    if (c->additive != 0.0f) b->state = b->state + picked(lanes, c->additive * z, (real){0});
    b->state = kept(b->state, b->low, b->high);
}

/* Which lanes of a block one pulse reaches, and which of these go up. */
struct event { uint16_t lanes, up; };

/* Pulses that wait for their normal numbers: these are made for sixteen pulsed cells at once, whichever blocks those
 * stand in, since mostly few cells of a block are pulsed. */
struct queue {
    uint32_t *cell, *step, *ordinal;
    float *z;
    struct event *events;
    int64_t *starts, *ends; /* of each block's events */
    int64_t *at;            /* of each block's first cell */
    int64_t entries, count, blocks, most_entries, most_events, most_blocks;
};

static inline uint32_t bits_of(whole mask)
{
#if WIDE
    return _mm512_movepi32_mask((__m512i)mask);
#else
    uint32_t bits = 0;
    for (int i = 0; i < LANES; i++) bits |= (uint32_t)(mask[i] & 1) << i;
    return bits;
#endif
}

/* The lanes of the mask, side by side from the first on; and back. In registers: to memory, both are slow. */
static inline words compressed(uint32_t lanes, words x)
{
#if WIDE
    return (words)_mm512_maskz_compress_epi32((__mmask16)lanes, (__m512i)x);
#else
    words y = {0};
    for (int to = 0; lanes; lanes &= lanes - 1) y[to++] = x[__builtin_ctz(lanes)];
    return y;
#endif
}

static inline real expanded(uint32_t lanes, const float *from)
{
#if WIDE
    return (real)_mm512_maskz_expand_ps((__mmask16)lanes, _mm512_loadu_ps(from));
#else
    real x = {0};
    for (; lanes; lanes &= lanes - 1) x[__builtin_ctz(lanes)] = *from++;
    return x;
#endif
}

static inline words ones_of(words x)
{
#if WIDE
    return (words)_mm512_popcnt_epi32((__m512i)x);
#else
    for (int i = 0; i < LANES; i++) x[i] = (uint32_t)__builtin_popcount(x[i]);
    return x;
#endif
}

/* As many pulses for each lane as `counts` says. */
static inline void push(struct queue *q, int64_t cell, uint32_t step, words counts, uint32_t up, int noisy)
{
    for (uint32_t ordinal = 0;; ordinal++) {
        uint32_t lanes = bits_of((whole)(counts > ordinal));
        if (!lanes) return;
        q->events[q->count++] = (struct event){(uint16_t)lanes, (uint16_t)up};
        if (!noisy) continue;
        words cells = ORDER + (uint32_t)cell, steps = (words){0} + step, ordinals = (words){0} + ordinal;
        cells = compressed(lanes, cells); /* whole vectors are stored; what is too much is written over next */
        put(q->cell + q->entries, &cells, LANES);
        put(q->step + q->entries, &steps, LANES);
        put(q->ordinal + q->entries, &ordinals, LANES);
        q->entries += __builtin_popcount(lanes);
    }
}

static void drain(struct queue *q, const struct cells *c)
{
    for (int64_t at = 0; at < q->entries; at += LANES) {
        words x0, x1, ordinal;
        get(&x0, q->cell + at, LANES);
        get(&x1, q->step + at, LANES);
        get(&ordinal, q->ordinal + at, LANES);
        threefry(c->seed, c->key + (ordinal >> 1), &x0, &x1);
        put(q->cell + at, &x0, LANES);
        put(q->step + at, &x1, LANES);
    }
    for (int64_t at = 0; at < q->entries; at += LANES) {
        words x0, x1, ordinal;
        get(&x0, q->cell + at, LANES);
        get(&x1, q->step + at, LANES);
        get(&ordinal, q->ordinal + at, LANES);
        real z = normal(x0, x1, (whole)((ordinal & 1u) == 1u));
        put(q->z + at, &z, LANES);
    }
    const int noisy = c->relative != 0.0f || c->additive != 0.0f;
    const float *z = q->z;
    for (int64_t i = 0; i < q->blocks; i++) {
        int64_t at = q->at[i], left = c->columns - at % c->columns;
        struct block b = block_at(c, at, left);
        for (int64_t e = q->starts[i]; e < q->ends[i]; e++) {
            struct event event = q->events[e];
            real noise = {0};
            if (noisy) { noise = expanded(event.lanes, z); z += __builtin_popcount(event.lanes); }
            pulse(&b, event.lanes, event.up, noise, c);
        }
        put(c->state + at, &b.state, left);
    }
    q->entries = q->count = q->blocks = 0;
}

static int opened(struct queue *q, int64_t most_events)
{
    enum { ENTRIES = 512, BLOCKS = 512 };
    memset(q, 0, sizeof *q);
    q->most_entries = ENTRIES; q->most_events = ENTRIES; q->most_blocks = BLOCKS;
    size_t entries = (size_t)(ENTRIES + most_events * LANES + LANES), events = (size_t)(ENTRIES + most_events);
    q->cell = calloc(3 * entries, sizeof *q->cell);
    q->z = malloc((entries + LANES) * sizeof *q->z);
    q->events = malloc(events * sizeof *q->events);
    q->starts = malloc(3 * BLOCKS * sizeof *q->starts);
    if (!q->cell || !q->z || !q->events || !q->starts) return 0;
    q->step = q->cell + entries; q->ordinal = q->step + entries;
    q->ends = q->starts + BLOCKS; q->at = q->ends + BLOCKS;
    return 1;
}

static void closed(struct queue *q) { free(q->cell); free(q->z); free(q->events); free(q->starts); }

static inline void begin(struct queue *q, const struct cells *c, int64_t at)
{
    if (q->blocks >= q->most_blocks || q->entries >= q->most_entries || q->count >= q->most_events) drain(q, c);
    q->at[q->blocks] = at;
    q->starts[q->blocks] = q->count;
}

static inline void end(struct queue *q)
{
    q->ends[q->blocks] = q->count;
    if (q->count > q->starts[q->blocks]) q->blocks++;
}

/* counts: (replicas, rows, columns), above zero for pulses up. 0 where memory is short. */
int apply_counts(const struct cells *stack, int64_t replicas, const int32_t *counts, uint32_t step)
{
    int64_t most = 0;
    const int64_t size = stack->rows * stack->columns;
    for (int64_t i = 0; i < replicas * size; i++) {
        int64_t n = counts[i] < 0 ? -(int64_t)counts[i] : counts[i];
        if (n > most) most = n;
    }
    struct queue q;
    if (!opened(&q, most)) { closed(&q); return 0; }
    for (int64_t r = 0; r < replicas; r++, counts += size) {
        const struct cells *c = stack + r;
        const int noisy = c->relative != 0.0f || c->additive != 0.0f;
        for (int64_t row = 0; row < c->rows; row++)
            for (int64_t column = 0; column < c->columns; column += LANES) {
                int64_t at = row * c->columns + column, left = c->columns - column;
                whole n = {0};
                get(&n, counts + at, left);
                begin(&q, c, at);
                push(&q, at, step, (words)((n ^ (n >> 31)) - (n >> 31)), bits_of(n > 0), noisy);
                end(&q);
            }
        drain(&q, c);
    }
    closed(&q);
    return 1;
}

/* Trains of up to 31 slots: a pulse falls where both lines have one. Bit 31 says that a line's value is negative; a
 * cell is pulsed up where the two signs differ. rows: (batch, rows), columns: (batch, columns). Sample i of the batch
 * is step `step` + i. 0 where memory is short. */
int apply_trains(const struct cells *c, const uint32_t *rows, const uint32_t *columns, int64_t batch, uint32_t step)
{
    struct queue q;
    if (!opened(&q, 31 * batch)) { closed(&q); return 0; }
    const int noisy = c->relative != 0.0f || c->additive != 0.0f;
    for (int64_t row = 0; row < c->rows; row++)
        for (int64_t column = 0; column < c->columns; column += LANES) {
            int64_t at = row * c->columns + column, left = c->columns - column;
            begin(&q, c, at);
            for (int64_t sample = 0; sample < batch; sample++) {
                const uint32_t mine = rows[sample * c->rows + row];
                if (!(mine & 0x7FFFFFFFu)) continue;
                words theirs = {0};
                get(&theirs, columns + sample * c->columns + column, left);
                words both = theirs & (mine & 0x7FFFFFFFu);
                push(&q, at, step + (uint32_t)sample, ones_of(both), bits_of((whole)(theirs ^ mine) < 0), noisy);
            }
            end(&q);
        }
    drain(&q, c);
    closed(&q);
    return 1;
}

/* The slots of a line: bit k is set where the k-th number drawn for it lies below its probability. */
void draw_trains(uint32_t seed, uint32_t key, uint32_t step, int64_t batch, int64_t lines, int32_t slots,
                 const float *probability, uint32_t *trains)
{
    for (int64_t sample = 0; sample < batch; sample++)
        for (int64_t line = 0; line < lines; line += LANES) {
            int64_t left = lines - line, at = sample * lines + line;
            real p = {0};
            get(&p, probability + at, left);
            whole negative = (whole)p < 0;
            p = (real)((whole)p & 0x7FFFFFFF);
            words found = (words)negative & 0x80000000u;
            for (int32_t slot = 0; slot < slots; slot += 2) {
                words x0 = ORDER + (uint32_t)line, x1 = (words){0} + (step + (uint32_t)sample);
                threefry(seed, (words){0} + (key + (uint32_t)slot / 2), &x0, &x1);
                found |= (words)(as_real((whole)(x0 >> 8)) * 0x1p-24f < p) & (1u << slot);
                if (slot + 1 < slots) found |= (words)(as_real((whole)(x1 >> 8)) * 0x1p-24f < p) & (1u << (slot + 1));
            }
            put(trains + at, &found, left);
        }
}
