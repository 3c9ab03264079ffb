/* How a convolution's patches lie in the image. Kernel rows are contiguous there unless taps are dilated or channels
   belong to several groups; then every tap is a run of its own. A patch may be read in place where its top left corner
   is no further down than `bottom` and no further right than `right`; the runs of some end within the last codes of an
   image whose quads would reach past it, so `right` leaves room for these. */
typedef struct {
    int32_t inputs, segments, length, bytes;
    int32_t bottom, right;
} window_int8;

static window_int8 window_of(const conv_int8 *layer)
{
    const geometry *g = &layer->shape;
    window_int8 w;
    int32_t whole_rows = g->kernel_width == 1 || (layer->groups == 1 && g->dilation_width == 1);
    w.inputs = g->channels / layer->groups;
    w.segments = whole_rows ? g->kernel_height : g->kernel_height * g->kernel_width;
    int32_t used = whole_rows ? g->kernel_width * w.inputs : w.inputs;
    w.length = (used + 3) & ~3;
    w.bytes = w.segments * w.length;
    w.bottom = g->height - 1 - (g->kernel_height - 1) * g->dilation_height;
    w.right = g->width - 1 - (g->kernel_width - 1) * g->dilation_width;
    w.right -= (w.length - used + g->channels - 1) / g->channels;
    if (!whole_rows)
        w.bottom = -1;
    return w;
}

/* Copies a kernel row each tap of which is a run of its own. */
static void gather_taps(const conv_int8 *layer, const window_int8 *w, const int8_t *row, int32_t left, int8_t *to)
{
    const geometry *g = &layer->shape;
    for (int32_t kx = 0; kx < g->kernel_width; kx++, to += w->length) {
        int32_t x = left + kx * g->dilation_width;
        if (x >= 0 && x < g->width)
            memcpy(to, row + x * g->channels, (size_t)w->inputs);
        else
            memset(to, layer->zero_in, (size_t)w->inputs);
    }
}

/* Copies a kernel row that is one run: some taps may lie left of the image, some right of it. */
static void gather_row(const conv_int8 *layer, const window_int8 *w, const int8_t *row, int32_t left, int32_t columns,
                       int32_t bytes, int8_t *to)
{
    const geometry *g = &layer->shape;
    int32_t first = left < 0 ? -left : 0, last = g->width - left;
    if (last > columns)
        last = columns;
    if (first >= last) {
        memset(to, layer->zero_in, (size_t)bytes);
        return;
    }
    if (first > 0)
        memset(to, layer->zero_in, (size_t)(first * w->inputs));
    memcpy(to + first * w->inputs, row + (left + first) * g->channels, (size_t)((last - first) * w->inputs));
    if (last * w->inputs < bytes)
        memset(to + last * w->inputs, layer->zero_in, (size_t)(bytes - last * w->inputs));
}

/* Copies the patch at (top, left), its taps beside the image being zero_in. */
static void gather_patch(const conv_int8 *layer, const window_int8 *w, const int8_t *in, int32_t top, int32_t left,
                         int32_t columns, int32_t row_bytes, int8_t *to)
{
    const geometry *g = &layer->shape;
    for (int32_t ky = 0; ky < g->kernel_height; ky++, to += row_bytes) {
        int32_t y = top + ky * g->dilation_height;
        const int8_t *row = in + y * g->width * g->channels;
        if (y < 0 || y >= g->height)
            memset(to, layer->zero_in, (size_t)row_bytes);
        else if (w->segments == g->kernel_height)
            gather_row(layer, w, row, left, columns, row_bytes, to);
        else
            gather_taps(layer, w, row, left, to);
    }
}

/* Where to read the patch at (top, left) of a group whose first channel is in[0]. */
static inline patch_int8 find_patch(const conv_int8 *layer, const window_int8 *w, const int8_t *in, int32_t top,
                                    int32_t left, int8_t *spare)
{
    const geometry *g = &layer->shape;
    patch_int8 patch = {spare, w->length, 0};
    if (top >= 0 && left >= 0 && top <= w->bottom && left <= w->right) {
        patch.codes = in + (top * g->width + left) * g->channels;
        patch.step = g->dilation_height * g->width * g->channels;
    } else {
        gather_patch(layer, w, in, top, left, g->kernel_width, w->bytes / g->kernel_height, spare);
    }
    return patch;
}

/* Whether a pixel is a patch, and the next pixel the next patch. */
static int32_t is_pointwise(const conv_int8 *layer)
{
    const geometry *g = &layer->shape;
    return g->kernel_height == 1 && g->kernel_width == 1 && g->stride_height == 1 && g->stride_width == 1 &&
           g->pad_top == 0 && g->pad_left == 0 && g->height == g->out_height && g->width == g->out_width &&
           layer->groups == 1 && g->channels % 4 == 0;
}

/* All pixels of one matrix, tile by tile. Spare patches lie at the ends of TILE_PATCHES equal parts of scratch, so that
   a kernel may widen each in place. */
static void run_matrix(const conv_int8 *layer, const window_int8 *w, const matrix_int8 *matrix, const int8_t *in,
                       int8_t *out, void *scratch)
{
    const geometry *g = &layer->shape;
    int32_t left = g->out_height * g->out_width, x = 0, top = -g->pad_top;
    while (left > 0) {
        patch_int8 patches[TILE_PATCHES];
        int32_t count = left < TILE_PATCHES ? left : TILE_PATCHES;
        for (int32_t i = 0; i < count; i++) {
            int8_t *spare = (int8_t *)scratch + ((i + 1) * (4 / TILE_PATCHES) - 1) * w->bytes;
            patches[i] = find_patch(layer, w, in, top, x * g->stride_width - g->pad_left, spare);
            if (++x == g->out_width)
                x = 0, top += g->stride_height;
        }
        for (int32_t i = count; i < TILE_PATCHES; i++)
            patches[i] = patches[0];
        multiply_int8(matrix, patches, count, out, g->out_channels, scratch);
        out += count * g->out_channels;
        left -= count;
    }
}

/* Whether all of `count` neighbours from (top, left) on may be read in place. */
static inline int32_t lie_inside(const conv_int8 *layer, const window_int8 *w, int32_t top, int32_t left, int32_t count)
{
    return top >= 0 && left >= 0 && top <= w->bottom && left + (count - 1) * layer->shape.stride_width <= w->right;
}

/* Copies the patches of a tile one behind the other, as many as scratch holds, and returns how many. */
static int32_t gather_patches(const conv_int8 *layer, const window_int8 *w, const int8_t *in, int32_t top, int32_t left,
                              int32_t count, patch_int8 *tile, int8_t *scratch)
{
    const geometry *g = &layer->shape;
    count = count < 4 ? count : 4;
    for (int32_t i = 0; i < count; i++)
        gather_patch(layer, w, in, top, left + i * g->stride_width, g->kernel_width, w->bytes / g->kernel_height,
                     scratch + i * w->bytes);
    set_half(tile, scratch, w->length, w->bytes);
    return count;
}

/* Copies what a tile needs of the image, neighbours sharing their columns: all of it, or the half that does not lie
   inside. Returns how many patches the tile has then, four where scratch has no room for more. */
static int32_t gather_tile(const conv_int8 *layer, const window_int8 *w, const int8_t *in, int32_t top, int32_t left,
                           int32_t count, patch_int8 *tile, int8_t *scratch)
{
    const geometry *g = &layer->shape;
    const int32_t stride = g->stride_width, next = stride * g->channels, row = g->width * g->channels;
    int32_t columns = (count - 1) * stride + g->kernel_width;
    int32_t near_inside = 0, far_inside = 0, far = left + (count - 4) * stride;
    if (columns > 4 * g->kernel_width) {
        columns = 3 * stride + g->kernel_width;
        near_inside = lie_inside(layer, w, top, left, 4);
        far_inside = lie_inside(layer, w, top, far, 4);
        count = near_inside || far_inside ? count : 4;
    }
    const int32_t step = columns * g->channels;
    gather_patch(layer, w, in, top, near_inside ? far : left, columns, step, scratch);
    set_halves(tile, scratch, near_inside || far_inside ? 4 : count, step, next);
    if (near_inside)
        set_half(tile, in + top * row + left * g->channels, g->dilation_height * row, next);
    if (far_inside)
        set_half(tile + 1, in + top * row + far * g->channels, g->dilation_height * row, next);
    return count;
}

/* All pixels of one matrix for a kernel that takes tiles of eight: neighbours of a row, the halves overlapping where
   there are fewer. */
static void run_halves(const conv_int8 *layer, const window_int8 *w, const matrix_int8 *matrix, const int8_t *in,
                       int8_t *out, void *scratch)
{
    const geometry *g = &layer->shape;
    const int32_t step = g->dilation_height * g->width * g->channels, next = g->stride_width * g->channels;
    const int32_t share = layer->groups == 1 && w->segments == g->kernel_height && g->stride_width <= g->kernel_width;
    int32_t top = -g->pad_top;
    for (int32_t y = 0; y < g->out_height; y++, top += g->stride_height) {
        for (int32_t x = 0, count; x < g->out_width; x += count, out += count * g->out_channels) {
            int32_t left = x * g->stride_width - g->pad_left;
            patch_int8 tile[2];
            count = g->out_width - x < TILE_PATCHES ? g->out_width - x : TILE_PATCHES;
            if (lie_inside(layer, w, top, left, count))
                set_halves(tile, in + (top * g->width + left) * g->channels, count, step, next);
            else if (share)
                count = gather_tile(layer, w, in, top, left, count, tile, scratch);
            else
                count = gather_patches(layer, w, in, top, left, count, tile, scratch);
            multiply_int8(matrix, tile, count, out, g->out_channels, scratch);
        }
    }
}

/* in[height][width][channels] to out[out_height][out_width][out_channels]; scratch holds four patches. */
static void run_conv_int8(const conv_int8 *layer, const int8_t *in, int8_t *out, void *scratch)
{
    const window_int8 w = window_of(layer);
    const int32_t pixels = layer->shape.out_height * layer->shape.out_width;
    const int32_t outputs = layer->shape.out_channels / layer->groups, padded = (outputs + 3) & ~3;
    for (int32_t group = 0; group < layer->groups; group++) {
        for (int32_t first = 0; first < outputs; first += OUTPUTS_AT_ONCE) {
            int32_t offset = group * padded + first, left = outputs - first, space[OUTPUTS_AT_ONCE];
            matrix_int8 slice = {layer->weights + offset * w.bytes,
                                 layer->bias + offset,
                                 layer->multiplier + offset,
                                 left < OUTPUTS_AT_ONCE ? left : OUTPUTS_AT_ONCE, w.segments, w.length, pixels,
                                 layer->zero_out, layer->low, layer->high};
            slice.bias = prepare_bias(&slice, space);
            if (is_pointwise(layer))
                run_rows(&slice, pixels, in, out + first, outputs, scratch);
            else if (TILE_PATCHES == 8)
                run_halves(layer, &w, &slice, in + group * w.inputs, out + group * outputs + first, scratch);
            else
                run_matrix(layer, &w, &slice, in + group * w.inputs, out + group * outputs + first, scratch);
        }
    }
}
