/* Eight bytes as a number whose lowest byte is the first, whatever the processor's order; compilers know the form. */
static uint64_t octet(const int8_t *bytes)
{
    const uint8_t *b = (const uint8_t *)bytes;
    return (uint64_t)b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24 | (uint64_t)b[4] << 32 |
           (uint64_t)b[5] << 40 | (uint64_t)b[6] << 48 | (uint64_t)b[7] << 56;
}

static void store_octet(int8_t *bytes, uint64_t word)
{
    uint8_t *b = (uint8_t *)bytes;
    b[0] = (uint8_t)word;
    b[1] = (uint8_t)(word >> 8);
    b[2] = (uint8_t)(word >> 16);
    b[3] = (uint8_t)(word >> 24);
    b[4] = (uint8_t)(word >> 32);
    b[5] = (uint8_t)(word >> 40);
    b[6] = (uint8_t)(word >> 48);
    b[7] = (uint8_t)(word >> 56);
}

/* A bit for each of up to 64 bytes, 1 where it is above 0. */
static uint64_t bits_of(const int8_t *bytes, size_t count)
{
    uint64_t bits = 0;
    size_t k = 0;
    for (; k + 8 <= count; k += 8) {
        const uint64_t word = octet(bytes + k);
        /* The highest bit of each byte: set where a lower one is, and the byte is not negative. */
        const uint64_t above = ((word & 0x7f7f7f7f7f7f7f7fu) + 0x7f7f7f7f7f7f7f7fu) & ~word & 0x8080808080808080u;
        /* The product brings those of the eight bytes side by side. */
        bits |= (above >> 7) * 0x0102040810204080u >> 56 << k;
    }
    for (; k < count; k++)
        bits |= (uint64_t)(bytes[k] > 0) << k;
    return bits;
}

/* +1 or -1 for each of up to 64 bits. */
static void signs_of(uint64_t bits, int8_t *bytes, size_t count)
{
    size_t k = 0;
    for (; k + 8 <= count; k += 8) {
        /* Bit j of the eight into byte j, then to its lowest place, and 1 or 0xff from 1 or 0. */
        const uint64_t spread = (bits >> k & 0xffu) * 0x0101010101010101u & 0x8040201008040201u;
        const uint64_t ones = (spread + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
        store_octet(bytes + k, ~(ones * 0xfeu));
    }
    for (; k < count; k++)
        bytes[k] = (int8_t)((int)(bits >> k & 1) * 2 - 1);
}
