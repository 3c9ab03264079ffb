/* a[rows][depth] times b, whose elements are step_depth and step_column apart, to out[rows][columns]. */
typedef struct {
    int32_t rows, depth, columns;
    int32_t step_depth, step_column;
    int32_t zero_a, zero_b;
    float multiplier;
    int32_t zero_out, low, high;
} matrix_product_int8;

static void run_matrix_product_int8(const matrix_product_int8 *product, const int8_t *a, const int8_t *b, int8_t *out)
{
    for (int32_t row = 0; row < product->rows; row++, a += product->depth)
        for (int32_t column = 0; column < product->columns; column++) {
            const int8_t *from = b + column * product->step_column;
            int32_t sum = 0;
            for (int32_t k = 0; k < product->depth; k++)
                sum += (a[k] - product->zero_a) * (from[k * product->step_depth] - product->zero_b);
            *out++ = requantize(sum, product->multiplier, product->zero_out, product->low, product->high);
        }
}
