/* One word of a plain processor: 64 samples. */
enum { VALUE_WORDS = 1 };
typedef uint64_t value;

static value filled(uint64_t bits)
{
    return bits;
}

MAY_BE_UNUSED static value both(value a, value b)
{
    return a & b;
}

MAY_BE_UNUSED static value either(value a, value b)
{
    return a | b;
}

static value differ(value a, value b)
{
    return a ^ b;
}

MAY_BE_UNUSED static value without(value a, value b)
{
    return a & ~b;
}
