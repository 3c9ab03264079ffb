#if THREADS > 1

typedef struct {
    const conv_binary_bits *layer;
    const uint64_t *in;
    uint64_t *out;
} shared_conv_binary_bits;

static void part_of_conv_binary_bits(const void *context, int32_t part)
{
    const shared_conv_binary_bits *c = (const shared_conv_binary_bits *)context;
    const layer_rows rows = rows_of_part(&c->layer->shape, part);
    conv_binary_bits own = *c->layer;
    own.shape = rows.shape;
    run_conv_binary_bits(&own, c->in + rows.in * ((own.shape.channels + 63) / 64), c->out + rows.out * ((own.shape.out_channels + 63) / 64));
}

static void share_conv_binary_bits(const conv_binary_bits *layer, const uint64_t *in, uint64_t *out)
{
    shared_conv_binary_bits context = {layer, in, out};
    share(part_of_conv_binary_bits, &context);
}

#else

static inline void share_conv_binary_bits(const conv_binary_bits *layer, const uint64_t *in, uint64_t *out)
{
    run_conv_binary_bits(layer, in, out);
}

#endif
