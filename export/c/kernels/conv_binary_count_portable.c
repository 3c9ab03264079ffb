/* Counts by carry-save adders (Harley and Seal), for processors that count bits slowly or not at all: a full adder
   takes three words of one weight to one of that weight and one of twice the weight, so that of 8 words 1 is left to
   count. */
#if UINTPTR_MAX > 0xffffffffu
typedef uint64_t binary_lane; /* two output channels side by side: nothing carries from bit to bit */
#else
typedef uint32_t binary_lane;
#endif

enum { BINARY_TILE = 1, BINARY_ROWS = 72 };

/* The words of one pixel that meet `rows` rows of weights, of which `together` at a time lie together; then come `gap`
   words of weights that meet none. */
typedef struct {
    binary_lane words[BINARY_ROWS];
    const uint64_t *weights;
    int32_t rows, together, gap;
} binary_rows;

static inline binary_lane each_half(uint32_t word)
{
    return (binary_lane)((binary_lane)(~(binary_lane)0 / 0xffffffffu) * word);
}

/* Adds two words to `sum` and returns the carries. */
static inline binary_lane full_add(binary_lane *sum, binary_lane a, binary_lane b)
{
    binary_lane half = *sum ^ a, carry = (*sum & a) | (half & b);
    *sum = half ^ b;
    return carry;
}

static inline binary_lane nibble_counts(binary_lane x)
{
    const binary_lane pairs = each_half(0x55555555u), nibbles = each_half(0x33333333u);
    x -= (x >> 1) & pairs;
    return (x & nibbles) + ((x >> 2) & nibbles);
}

static inline binary_lane add_nibbles(binary_lane x)
{
    const binary_lane low = each_half(0x0f0f0f0fu);
    return (x & low) + ((x >> 4) & low);
}

static inline binary_lane add_bytes(binary_lane x)
{
    const binary_lane low = each_half(0x00ff00ffu);
    return (x & low) + ((x >> 8) & low);
}

/* What full adders leave of one output channel, or of two side by side: bits of weight 1, 2, 4 and 8, and bytes that
   count further bits of weight 8. */
typedef struct {
    binary_lane ones, twos, fours, eights, counted;
} binary_planes;

/* Where the words of a pixel meet one column of weights. */
typedef struct {
    const binary_lane *words;
    const uint64_t *weights;
    int32_t pitch, shift;
} binary_column;

static ALWAYS_INLINE binary_lane next_differing(binary_column *at)
{
    binary_lane differing = *at->words++ ^ (binary_lane)(*at->weights >> at->shift);
    at->weights += at->pitch;
    return differing;
}

/* Adds four words; returns what carries into weight 4. */
static ALWAYS_INLINE binary_lane add_4(binary_planes *p, binary_column *at)
{
    binary_lane a = next_differing(at), b = next_differing(at);
    binary_lane twos = full_add(&p->ones, a, b);
    a = next_differing(at);
    b = next_differing(at);
    return full_add(&p->twos, twos, full_add(&p->ones, a, b));
}

static ALWAYS_INLINE void add_8(binary_planes *p, binary_column *at)
{
    binary_lane fours = add_4(p, at);
#if defined(__GNUC__)
    __asm__("" : "+r"(fours), "+r"(at->words), "+r"(at->weights)); /* or gcc mixes both halves and lacks registers */
#endif
    p->counted += add_nibbles(nibble_counts(full_add(&p->fours, fours, add_4(p, at))));
}

/* One of the up to seven words that eight do not divide: with them no sum of a bit exceeds 15. */
static ALWAYS_INLINE void add_1(binary_planes *p, binary_column *at)
{
    binary_lane word = next_differing(at), twos = p->ones & word, fours = p->twos & twos;
    p->ones ^= word;
    p->twos ^= twos;
    p->eights |= p->fours & fours;
    p->fours ^= fours;
}

/* All bits that were added, in the low 16 bits of each 32. */
static ALWAYS_INLINE binary_lane sum_of(const binary_planes *p)
{
    binary_lane low = nibble_counts(p->ones) + 2 * nibble_counts(p->twos);
    binary_lane high = nibble_counts(p->fours) + 2 * nibble_counts(p->eights);
    binary_lane sum = add_bytes(add_nibbles(low) + 4 * add_nibbles(high)) + 8 * add_bytes(p->counted);
    return (sum + (sum >> 16)) & each_half(0xffffu);
}

static ALWAYS_INLINE binary_lane count_column(const binary_rows *rows, const uint64_t *weights, int32_t pitch,
                                              int32_t shift)
{
    binary_column at = {rows->words, weights, pitch, shift};
    binary_planes p = {0, 0, 0, 0, 0};
    for (int32_t left = rows->rows; left > 0; left -= rows->together) {
        for (int32_t eights = rows->together / 8; eights > 0; eights--)
            add_8(&p, &at);
        for (int32_t ones = rows->together % 8; ones > 0; ones--)
            add_1(&p, &at);
        at.weights += rows->gap;
        if (left > rows->together) { /* make room for further ones */
            p.counted += add_nibbles(nibble_counts(p.eights));
            p.eights = 0;
        }
    }
    return sum_of(&p);
}

/* Adds the counts of the rows gathered, for every output channel of a block. */
static void count_rows(const binary_rows *rows, int32_t width, int32_t *counts)
{
    int32_t pairs = width / 2;
    for (int32_t i = 0; i < pairs; i++) {
#if UINTPTR_MAX > 0xffffffffu
        binary_lane both = count_column(rows, rows->weights + i, pairs, 0);
        counts[2 * i] += (int32_t)(both & 0xffffffffu);
        counts[2 * i + 1] += (int32_t)(both >> 32);
#else
        counts[2 * i] += (int32_t)count_column(rows, rows->weights + i, pairs, 0);
        counts[2 * i + 1] += (int32_t)count_column(rows, rows->weights + i, pairs, 32);
#endif
    }
}

/* Counts the rows gathered and starts anew behind them. More rows than fit that lie together are counted in parts,
   otherwise whole stretches of them. */
static void take_rows(binary_rows *rows, int32_t width, int32_t together, int32_t gap, int32_t *counts)
{
    int32_t parted = together > BINARY_ROWS;
    rows->together = parted ? rows->rows : together;
    rows->gap = parted ? 0 : gap;
    count_rows(rows, width, counts);
    rows->weights += (ptrdiff_t)rows->rows * (width / 2) + (ptrdiff_t)(rows->rows / rows->together) * rows->gap;
    rows->rows = 0;
}

static void count_1(const binary_region *r, const uint64_t *in, int32_t word, const uint64_t *weights, int32_t width,
                    int32_t *counts)
{
    int32_t stretch = r->runs * r->run_length, gap = r->to_weights * (width / 2);
    int32_t together = gap == 0 ? r->tap_rows * stretch : stretch;
    int32_t most = together > BINARY_ROWS ? BINARY_ROWS : BINARY_ROWS / (together > 0 ? together : 1) * together;
    binary_rows rows;
    rows.rows = 0;
    rows.weights = weights + (ptrdiff_t)r->first_weights * (width / 2);
    memset(counts, 0, 64 * sizeof *counts);
    for (int32_t tap_rows = r->tap_rows; tap_rows > 0; tap_rows--) {
        for (int32_t runs = r->runs; runs > 0; runs--) {
            for (int32_t left = r->run_length; left > 0; left--, word++) {
                rows.words[rows.rows++] = each_half((uint32_t)(in[word >> 1] >> (32 * (word & 1))));
                if (rows.rows == most)
                    take_rows(&rows, width, together, gap, counts);
            }
            word += r->to_run;
        }
        word += r->to_tap_row;
        if (together > BINARY_ROWS && gap > 0) {
            if (rows.rows > 0)
                take_rows(&rows, width, together, gap, counts);
            rows.weights += gap;
        }
    }
    if (rows.rows > 0)
        take_rows(&rows, width, together, gap, counts);
}

static void count_tile(const binary_region *r, const uint64_t *in, const int32_t *pixels, int32_t count,
                       const uint64_t *weights, int32_t width, int32_t (*counts)[64])
{
    for (int32_t i = 0; i < count; i++)
        count_1(r, in, pixels[i], weights, width, counts[i]);
}
