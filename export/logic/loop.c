/* Where the values of all gates in flight are; place 0 is the constant 0. */
static value values[PLACES];

/* Words of one signal into its place, zeros behind the last. */
static void load(value *to, const uint64_t *words, size_t count)
{
    if (count == VALUE_WORDS) { /* one instruction */
        memcpy(to, words, sizeof *to);
        return;
    }
    memset(to, 0, sizeof *to);
    memcpy(to, words, count * sizeof *words);
}

static void store(uint64_t *words, const value *from, size_t count, uint64_t inverse)
{
    const value held = differ(*from, filled(inverse));
    if (count == VALUE_WORDS)
        memcpy(words, &held, sizeof held);
    else
        memcpy(words, &held, count * sizeof *words);
}
