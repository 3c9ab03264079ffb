#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define MAY_BE_UNUSED __attribute__((unused)) /* some instruction sets have their own form of it */
#else
#define MAY_BE_UNUSED
#endif

/* Whole cache lines, which the widest vectors fill; small processors have neither. */
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
#define ALIGNED __attribute__((aligned(64)))
#elif defined(__GNUC__)
#define ALIGNED __attribute__((aligned(8)))
#else
#define ALIGNED
#endif

/* One image, channels last, and the window that moves over it. Padding counts on the side where it starts; what lies
   beyond the other side follows from the output's size. */
typedef struct {
    int32_t height, width, channels;
    int32_t out_height, out_width, out_channels;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t pad_top, pad_left;
    int32_t dilation_height, dilation_width;
} geometry;
