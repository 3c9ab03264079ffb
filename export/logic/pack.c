/* Bit c of row r goes to bit r of row c, by swapping ever smaller squares across the diagonal. */
static void transpose(uint64_t *rows)
{
    uint64_t low = 0xffffffffu;
    for (unsigned side = 32; side; side >>= 1, low ^= low << side)
        for (unsigned first = 0; first < 64; first += 2 * side)
            for (unsigned r = first; r < first + side; r++) {
                const uint64_t swapped = (rows[r] >> side ^ rows[r + side]) & low;
                rows[r] ^= swapped << side;
                rows[r + side] ^= swapped;
            }
}

static size_t at_most(size_t count, size_t most)
{
    return count < most ? count : most;
}

static void pack(const int8_t *rows, size_t samples, size_t columns, uint64_t *planes)
{
    const size_t words = (samples + 63) / 64;
    for (size_t w = 0; w < words; w++)
        for (size_t c = 0; c < columns; c += 64) {
            const size_t held = at_most(samples - 64 * w, 64), wide = at_most(columns - c, 64);
            uint64_t square[64] = {0};
            for (size_t s = 0; s < held; s++)
                square[s] = bits_of(rows + (64 * w + s) * columns + c, wide);
            transpose(square);
            for (size_t k = 0; k < wide; k++)
                planes[(c + k) * words + w] = square[k];
        }
}

static void unpack(const uint64_t *planes, size_t samples, size_t columns, int8_t *rows)
{
    const size_t words = (samples + 63) / 64;
    for (size_t w = 0; w < words; w++)
        for (size_t c = 0; c < columns; c += 64) {
            const size_t held = at_most(samples - 64 * w, 64), wide = at_most(columns - c, 64);
            uint64_t square[64] = {0};
            for (size_t k = 0; k < wide; k++)
                square[k] = planes[(c + k) * words + w];
            transpose(square);
            for (size_t s = 0; s < held; s++)
                signs_of(square[s], rows + (64 * w + s) * columns + c, wide);
        }
}
