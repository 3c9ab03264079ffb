/* What `python -m offramp.benchmarks.binary_conv` times: one layer several times, and the most that this processor's
   registers allow. Stands behind the kernels. */
void time_layer(const geometry *shape, const uint64_t *weights, const int32_t *limit, const uint64_t *in, uint64_t *out,
                int32_t times);
int64_t time_registers(int32_t times);
int64_t time_floats(int32_t times);

void time_layer(const geometry *shape, const uint64_t *weights, const int32_t *limit, const uint64_t *in, uint64_t *out,
                int32_t times)
{
    conv_binary_bits layer = {*shape, weights, limit};
    for (int32_t i = 0; i < times; i++) {
        run_conv_binary_bits(&layer, in, out);
        __asm__ volatile("" : : "r"(out) : "memory");
    }
}

/* The products of the unavoidable instructions on registers, at full speed. Returns their number. */
#if defined(__AVX512VPOPCNTDQ__)
static ALWAYS_INLINE __m512i differing_bits(__m512i sum, __m512i x, __m512i y)
{
    __m512i z;
    __asm__ volatile("vpxord %2, %1, %0" : "=v"(z) : "v"(x), "v"(y)); /* volatile: not moved out of the loop */
    return _mm512_add_epi32(sum, _mm512_popcnt_epi32(z));
}

int64_t time_registers(int32_t times)
{
    __m512i x = _mm512_set1_epi32(times), y = _mm512_set1_epi32(5), zero = _mm512_setzero_si512();
    __m512i a = zero, b = zero, c = zero, d = zero, e = zero, f = zero, g = zero, h = zero;
    for (int32_t i = 0; i < times; i++) {
        a = differing_bits(a, x, y);
        b = differing_bits(b, x, y);
        c = differing_bits(c, x, y);
        d = differing_bits(d, x, y);
        e = differing_bits(e, x, y);
        f = differing_bits(f, x, y);
        g = differing_bits(g, x, y);
        h = differing_bits(h, x, y);
    }
    __asm__ volatile("" : : "v"(a), "v"(b), "v"(c), "v"(d), "v"(e), "v"(f), "v"(g), "v"(h));
    return (int64_t)times * 8 * 512;
}

typedef __m512 float_lanes;
#else
/* Eight nibbles of 32 output channels and two pixels: eight shuffles, five sums in place, three times the halves. */
static ALWAYS_INLINE __m256i shuffled(__m256i table, __m256i indices)
{
    __m256i z;
    __asm__ volatile("vpshufb %2, %1, %0" : "=x"(z) : "x"(table), "x"(indices));
    return z;
}

static ALWAYS_INLINE __m256i shuffled_3(__m256i x, __m256i y, __m256i z)
{
    return _mm256_add_epi8(_mm256_add_epi8(shuffled(x, y), shuffled(y, z)), shuffled(z, x));
}

int64_t time_registers(int32_t times)
{
    __m256i x = _mm256_set1_epi32(times), y = _mm256_set1_epi32(5), z = _mm256_set1_epi32(7);
    __m256i zero = _mm256_setzero_si256(), a = zero, b = zero, c = zero, d = zero, e = zero, f = zero;
    for (int32_t i = 0; i < times; i++) {
        add_halves(&a, &b, shuffled_3(x, y, z));
        add_halves(&c, &d, shuffled_3(y, z, x));
        add_halves(&e, &f, _mm256_add_epi8(shuffled(x, y), shuffled(y, z)));
    }
    __asm__ volatile("" : : "x"(a), "x"(b), "x"(c), "x"(d), "x"(e), "x"(f));
    return (int64_t)times * 8 * 4 * 32 * 2;
}

typedef __m256 float_lanes;
#endif

static ALWAYS_INLINE float_lanes multiplied(float_lanes sum, float_lanes x)
{
    __asm__ volatile("vfmadd231ps %1, %1, %0" : "+v"(sum) : "v"(x));
    return sum;
}

/* The same of float32, which shows whether the processor gave the float peers its full speed. */
int64_t time_floats(int32_t times)
{
    float_lanes x = {0}, a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x;
    for (int32_t left = times; left > 0; left--) {
        a = multiplied(a, x);
        b = multiplied(b, x);
        c = multiplied(c, x);
        d = multiplied(d, x);
        e = multiplied(e, x);
        f = multiplied(f, x);
        g = multiplied(g, x);
        h = multiplied(h, x);
        i = multiplied(i, x);
        j = multiplied(j, x);
    }
    __asm__ volatile("" : : "v"(a), "v"(b), "v"(c), "v"(d), "v"(e), "v"(f), "v"(g), "v"(h), "v"(i), "v"(j));
    return (int64_t)times * 10 * (int64_t)(sizeof x / sizeof(float));
}
