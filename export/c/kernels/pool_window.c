/* The part of a pool's window that lies inside the image, and what its sum is divided by. */
typedef struct {
    int32_t first, rows, columns; /* index of the first pixel */
    int32_t count;
} pool_window;

static inline int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static inline int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* `divisor` above 0 is the count; 0 counts the window's positions in the padded image, -1 those in the image. */
static pool_window pool_window_at(const geometry *g, int32_t divisor, int32_t out_y, int32_t out_x)
{
    int32_t top = out_y * g->stride_height - g->pad_top, left = out_x * g->stride_width - g->pad_left;
    int32_t bottom = smaller(top + g->kernel_height, g->height + g->pad_top);
    int32_t right = smaller(left + g->kernel_width, g->width + g->pad_left);
    int32_t y = larger(top, 0), x = larger(left, 0);
    pool_window window = {y * g->width + x, smaller(bottom, g->height) - y, smaller(right, g->width) - x, divisor};
    if (divisor < 0)
        window.count = window.rows * window.columns;
    else if (divisor == 0)
        window.count = (bottom - top) * (right - left);
    return window;
}
