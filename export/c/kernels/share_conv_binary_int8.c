#if THREADS > 1

typedef struct {
    const conv_binary_int8 *layer;
    const uint64_t *in;
    int8_t *out;
} shared_conv_binary_int8;

static void part_of_conv_binary_int8(const void *context, int32_t part)
{
    const shared_conv_binary_int8 *c = (const shared_conv_binary_int8 *)context;
    const layer_rows rows = rows_of_part(&c->layer->shape, part);
    conv_binary_int8 own = *c->layer;
    own.shape = rows.shape;
    run_conv_binary_int8(&own, c->in + rows.in * ((own.shape.channels + 63) / 64), c->out + rows.out * own.shape.out_channels);
}

static void share_conv_binary_int8(const conv_binary_int8 *layer, const uint64_t *in, int8_t *out)
{
    shared_conv_binary_int8 context = {layer, in, out};
    share(part_of_conv_binary_int8, &context);
}

#else

static inline void share_conv_binary_int8(const conv_binary_int8 *layer, const uint64_t *in, int8_t *out)
{
    run_conv_binary_int8(layer, in, out);
}

#endif
