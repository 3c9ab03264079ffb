#include <arm_acle.h>

/* SMLAD multiplies two pairs of 16 bits and adds both products. SXTB16 widens bytes 0 and 2 of a word, or 1 and 3 once
   it is rotated, so a quad of codes becomes an even and an odd pair. Two patches are widened in scratch before all
   outputs use them; weights are widened as they are read, each for both patches. */
enum { TILE_PATCHES = 2 };

static inline int32_t load_quad(const int8_t *codes)
{
    int32_t quad;
    memcpy(&quad, codes, sizeof quad);
    return quad;
}

static inline int32_t even_pair(int32_t quad)
{
    return __sxtb16(quad);
}

/* The rotation is part of the instruction, which compilers do not find. */
static inline int32_t odd_pair(int32_t quad)
{
    int32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(quad));
    return pair;
}

/* Signed products need no other biases than the layer's. */
static const int32_t *prepare_bias(const matrix_int8 *m, int32_t *space)
{
    (void)space;
    return m->bias;
}

/* Most layers use all codes; the others pay for their limits here. */
static void clamp_codes(const matrix_int8 *m, int8_t *out)
{
    if (m->low == -128 && m->high == 127)
        return;
    for (int32_t i = 0; i < m->outputs; i++) {
        int32_t code = out[i] < m->low ? m->low : out[i];
        out[i] = (int8_t)(code > m->high ? m->high : code);
    }
}

/* Widens a patch, which may end where its widened copy does: that reaches no code before it is read. */
static void widen_patch(const matrix_int8 *m, patch_int8 patch, int8_t *to)
{
    for (int32_t segment = 0; segment < m->segments; segment++, patch.codes += patch.step) {
        const int8_t *x = patch.codes, *end = x + m->length;
        do {
            int32_t quad = load_quad(x);
            __asm__ volatile("strd %1, %2, [%0], #8" : "+r"(to) : "r"(even_pair(quad)), "r"(odd_pair(quad)) : "memory");
            x += 4;
        } while (x != end);
    }
}

/* The outputs of one block for two widened patches. */
typedef struct {
    const int8_t *x, *y, *w;
    int32_t quads, step; /* quads of a patch; bytes from one quad's weights to the next, less 64 */
    const int32_t *bias;
    const float *multiplier;
    int8_t *out;
    int32_t out_step, zero, outputs;
} patch_pair;

/* What the loop over a patch's quads keeps in registers: sums of two outputs for patch x and for patch y. */
typedef struct {
    int32_t x_first, x_second, y_first, y_second;
    const int8_t *x, *y, *w;
} pair_sums;

/* Adds a quad's products, and steps to the next quad of a full block. It is assembly as it takes all registers but one,
   which compilers do not manage on their own. */
static inline void add_pair_of_quads(pair_sums *s)
{
    int32_t x_even, x_odd, y_even, y_odd, quad, pair;
    __asm__ volatile("ldr %[quad], [%[w]], #4\n\t"
                     "ldrd %[x_even], %[x_odd], [%[x]], #8\n\t"
                     "ldrd %[y_even], %[y_odd], [%[y]], #8\n\t"
                     "sxtb16 %[pair], %[quad]\n\t"
                     "smlad %[x_first], %[x_even], %[pair], %[x_first]\n\t"
                     "smlad %[y_first], %[y_even], %[pair], %[y_first]\n\t"
                     "sxtb16 %[pair], %[quad], ror #8\n\t"
                     "ldr %[quad], [%[w]], #60\n\t"
                     "smlad %[x_first], %[x_odd], %[pair], %[x_first]\n\t"
                     "smlad %[y_first], %[y_odd], %[pair], %[y_first]\n\t"
                     "sxtb16 %[pair], %[quad]\n\t"
                     "smlad %[x_second], %[x_even], %[pair], %[x_second]\n\t"
                     "smlad %[y_second], %[y_even], %[pair], %[y_second]\n\t"
                     "sxtb16 %[pair], %[quad], ror #8\n\t"
                     "smlad %[x_second], %[x_odd], %[pair], %[x_second]\n\t"
                     "smlad %[y_second], %[y_odd], %[pair], %[y_second]"
                     : [x_first] "+r"(s->x_first), [x_second] "+r"(s->x_second), [y_first] "+r"(s->y_first),
                       [y_second] "+r"(s->y_second), [x] "+r"(s->x), [y] "+r"(s->y), [w] "+r"(s->w),
                       [x_even] "=&r"(x_even), [x_odd] "=&r"(x_odd), [y_even] "=&r"(y_even), [y_odd] "=&r"(y_odd),
                       [quad] "=&r"(quad), [pair] "=&r"(pair)
                     :
                     : "memory");
}

/* Two outputs after another. */
static __attribute__((noinline)) void multiply_block(patch_pair *p)
{
    for (; p->outputs > 0; p->outputs -= 2) {
        pair_sums s = {p->bias[0], p->bias[1], p->bias[0], p->bias[1], p->x, p->y, p->w};
        const int8_t *end = s.y;
        if (p->step) {
            for (; s.x != end; s.w += p->step)
                add_pair_of_quads(&s);
        } else {
            if (p->quads & 1)
                add_pair_of_quads(&s);
            while (s.x != end) {
                add_pair_of_quads(&s);
                add_pair_of_quads(&s);
            }
        }
        int8_t *out = p->out, *next = out + p->out_step;
        const float first = p->multiplier[0], second = p->multiplier[1];
        const int32_t zero = p->zero;
        out[0] = saturated_code(s.x_first, first, zero);
        next[0] = saturated_code(s.y_first, first, zero);
        if (p->outputs > 1) {
            out[1] = saturated_code(s.x_second, second, zero);
            next[1] = saturated_code(s.y_second, second, zero);
        }
        p->w += 8;
        p->bias += 2;
        p->multiplier += 2;
        p->out = out + 2;
    }
}

static void multiply_two_patches(const matrix_int8 *m, const int8_t *x, int32_t quads, int8_t *out, int32_t out_step)
{
    patch_pair p = {x, x + 8 * quads, 0, quads, 0, m->bias, m->multiplier, out, out_step, m->zero, 0};
    const int8_t *block = m->weights;
    for (int32_t left = m->outputs; left > 0; left -= 16) {
        p.outputs = left < 16 ? left : 16;
        p.step = 4 * ((p.outputs + 3) & ~3) - 64;
        p.w = block;
        multiply_block(&p);
        block += 64 * quads;
    }
}

/* Adds the products of a quad with two outputs' weights, and steps to the next two. */
#define ADD_TWO_OUTPUTS(first, second, next)                                                                          \
    "ldr %[quad], [%[w]], #4\n\t"                                                                                     \
    "sxtb16 %[pair], %[quad]\n\t"                                                                                     \
    "smlad %[" first "], %[even], %[pair], %[" first "]\n\t"                                                          \
    "sxtb16 %[pair], %[quad], ror #8\n\t"                                                                             \
    "smlad %[" first "], %[odd], %[pair], %[" first "]\n\t"                                                           \
    "ldr %[quad], [%[w]], #" next "\n\t"                                                                              \
    "sxtb16 %[pair], %[quad]\n\t"                                                                                     \
    "smlad %[" second "], %[even], %[pair], %[" second "]\n\t"                                                        \
    "sxtb16 %[pair], %[quad], ror #8\n\t"                                                                             \
    "smlad %[" second "], %[odd], %[pair], %[" second "]\n\t"

/* Four outputs of a run of one patch, which is read where it lies; `step` is as in patch_pair. */
static __attribute__((noinline)) const int8_t *sum_run(const int8_t *x, int32_t length, const int8_t *w, int32_t step,
                                                       int32_t *sums)
{
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3], quad, pair;
    for (const int8_t *end = x + length; x != end; x += 4, w += step) {
        int32_t codes = load_quad(x), even = even_pair(codes), odd = odd_pair(codes);
        __asm__ volatile(ADD_TWO_OUTPUTS("a", "b", "4") ADD_TWO_OUTPUTS("c", "d", "52")
                         : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [w] "+r"(w), [quad] "=&r"(quad),
                           [pair] "=&r"(pair)
                         : [even] "r"(even), [odd] "r"(odd)
                         : "memory");
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    return w;
}

/* One patch as it lies: the last pixel of an odd number, and linear layers. */
static void multiply_one_patch(const matrix_int8 *m, patch_int8 patch, int32_t quads, int8_t *out)
{
    const int8_t *block = m->weights;
    for (int32_t output = 0; output < m->outputs; output += 4) {
        int32_t left = m->outputs - (output & ~15), width = left < 16 ? (left + 3) & ~3 : 16, sums[4];
        const int8_t *w = block, *x = patch.codes;
        memcpy(sums, m->bias + output, sizeof sums);
        for (int32_t segment = 0; segment < m->segments; segment++, x += patch.step)
            w = sum_run(x, m->length & ~3, w, 4 * width - 64, sums);
        if (m->length & 3) { /* a linear layer, whose patches are one run */
            int8_t rest[4] = {0};
            memcpy(rest, x + (m->length & ~3), (size_t)(m->length & 3));
            sum_run(rest, 4, w, 0, sums);
        }
        for (int32_t i = 0; i < 4 && output + i < m->outputs; i++)
            out[output + i] = saturated_code(sums[i], m->multiplier[output + i], m->zero);
        block += (output & 15) == 12 ? 64 * quads - 48 : 16;
    }
}

/* out[count][out_step]: the codes of up to OUTPUTS_AT_ONCE outputs of the first `count` of TILE_PATCHES patches. */
static void multiply_int8(const matrix_int8 *m, const patch_int8 *patches, int32_t count, int8_t *out, int32_t out_step,
                          void *scratch)
{
    int32_t quads = m->segments * ((m->length + 3) / 4);
    if (count == 2 && scratch) {
        int8_t *pairs = scratch;
        widen_patch(m, patches[0], pairs);
        widen_patch(m, patches[1], pairs + 8 * quads);
        multiply_two_patches(m, pairs, quads, out, out_step);
    } else {
        for (int32_t i = 0; i < count; i++)
            multiply_one_patch(m, patches[i], quads, out + i * out_step);
    }
    for (int32_t i = 0; i < count; i++)
        clamp_codes(m, out + i * out_step);
}
