/* A convolution on int8 codes. Weights, biases and multipliers are laid out as packing_int8.py says; the biases already
   hold -zero_in * (sum of the output's weights), so a tap beside the image must read zero_in. */
typedef struct {
    geometry shape; /* channels and out_channels of the whole layer, over all groups */
    int32_t groups;
    const int8_t *weights;
    const int32_t *bias;
    const float *multiplier;
    int32_t zero_in, zero_out, low, high;
} conv_int8;

typedef struct {
    int32_t inputs, outputs;
    const int8_t *weights;
    const int32_t *bias;
    const float *multiplier;
    int32_t zero_out, low, high;
} linear_int8;

/* How many outputs a matrix has at most: larger layers run in slices, whose weights stay in the cache. */
enum { OUTPUTS_AT_ONCE = 64 };

/* The matrix that every patch is multiplied by: outputs of one group of a convolution, or of a linear layer. A patch is
   `segments` runs of `length` codes; a run's weights fill whole quads of codes, the rest being zeros. */
typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    const float *multiplier;
    int32_t outputs, segments, length;
    int32_t patches; /* that it is multiplied by in all */
    int32_t zero, low, high;
} matrix_int8;

/* The first code of a patch and how far apart its runs start. Kernels for tiles of eight are given halves instead: the
   first four patches of a tile, or what there is of them, and its last four, each `next` behind the one before. */
typedef struct {
    const int8_t *codes;
    int32_t step, next;
} patch_int8;
