/* How many bits of the nibbles p and q differ from a nibble w: byte w of differing_nibbles[p + 16 * q], the count of p
   in its low half and of q in its high half. */

/* The bytes w = 0 to 7 of one nibble, 0 to 7; where bit 3 of one of them is set, each count is one more. */
#define DIFFER_0 0x0302020102010100u
#define DIFFER_1 0x0203010201020001u
#define DIFFER_2 0x0201030201000201u
#define DIFFER_3 0x0102020300010102u
#define DIFFER_4 0x0201010003020201u
#define DIFFER_5 0x0102000102030102u
#define DIFFER_6 0x0100020102010302u
#define DIFFER_7 0x0001010201020203u
#define ONE_MORE 0x0101010101010101u

/* Entries for p without and with bit 3: the bytes w below 8, then those from 8 on. */
#define LOW_P(p, low, high) {(p) + 16 * (low), (p) + ONE_MORE + 16 * (high)}
#define HIGH_P(p, low, high) {(p) + ONE_MORE + 16 * (low), (p) + 16 * (high)}
#define EIGHT(entry, low, high) \
    entry(DIFFER_0, low, high), entry(DIFFER_1, low, high), entry(DIFFER_2, low, high), entry(DIFFER_3, low, high), \
    entry(DIFFER_4, low, high), entry(DIFFER_5, low, high), entry(DIFFER_6, low, high), entry(DIFFER_7, low, high)
#define LOW_Q(q) EIGHT(LOW_P, q, (q) + ONE_MORE), EIGHT(HIGH_P, q, (q) + ONE_MORE)
#define HIGH_Q(q) EIGHT(LOW_P, (q) + ONE_MORE, q), EIGHT(HIGH_P, (q) + ONE_MORE, q)

static const uint64_t differing_nibbles[256][2] ALIGNED = {
    LOW_Q(DIFFER_0),  LOW_Q(DIFFER_1),  LOW_Q(DIFFER_2),  LOW_Q(DIFFER_3),
    LOW_Q(DIFFER_4),  LOW_Q(DIFFER_5),  LOW_Q(DIFFER_6),  LOW_Q(DIFFER_7),
    HIGH_Q(DIFFER_0), HIGH_Q(DIFFER_1), HIGH_Q(DIFFER_2), HIGH_Q(DIFFER_3),
    HIGH_Q(DIFFER_4), HIGH_Q(DIFFER_5), HIGH_Q(DIFFER_6), HIGH_Q(DIFFER_7),
};
