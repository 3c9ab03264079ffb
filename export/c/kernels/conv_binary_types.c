/* A convolution of +-1 tensors. Its sum is (products inside the image) - 2 * (products that are -1), and a product is
   -1 where the bits of its factors differ; so counting differing bits is all the arithmetic there is. Taps in the
   padding add nothing.

   Weights: blocks of 64 output channels, the last as wide as a multiple of 8 needs; in a block one row of 32-bit words
   for each tap (row by row of the kernel) and 32 input channels, one word an output channel. Two output channels share
   a uint64_t, the even one in the low half. Bits and output channels that only fill up are 0. */
typedef struct {
    geometry shape;          /* channels and out_channels of the whole layer */
    const uint64_t *weights;
    const int32_t *limit;    /* for each output channel K - T: K taps * channels, T the least sum that gives +1 */
} conv_binary_bits;

typedef struct {
    geometry shape;
    const uint64_t *weights;
    const int32_t *bias;     /* for each output channel; added to the sum */
    const float *multiplier; /* for each output channel; scales sum + bias to steps of the output */
    int32_t zero, low, high; /* the code of 0, and the range of codes */
} conv_binary_int8;
