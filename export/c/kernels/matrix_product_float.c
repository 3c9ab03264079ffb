/* a[rows][depth] times b[depth][columns] to out[rows][columns]. */
static void run_matrix_product_float(int32_t rows, int32_t depth, int32_t columns, const float *a, const float *b,
                                     float *out)
{
    for (int32_t row = 0; row < rows; row++, a += depth, out += columns) {
        for (int32_t column = 0; column < columns; column++)
            out[column] = 0.0f;
        for (int32_t k = 0; k < depth; k++)
            for (int32_t column = 0; column < columns; column++)
                out[column] += a[k] * b[k * columns + column];
    }
}
