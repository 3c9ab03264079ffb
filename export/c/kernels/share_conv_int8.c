#if THREADS > 1

typedef struct {
    const conv_int8 *layer;
    const int8_t *in;
    int8_t *out;
    void *scratch;
} shared_conv_int8;

static void part_of_conv_int8(const void *context, int32_t part)
{
    const shared_conv_int8 *c = (const shared_conv_int8 *)context;
    const layer_rows rows = rows_of_part(&c->layer->shape, part);
    conv_int8 own = *c->layer;
    static ALIGNED uint8_t spare[THREADS - 1][SCRATCH_BYTES];
    void *scratch = part > 0 ? spare[part - 1] : c->scratch;
    own.shape = rows.shape;
    run_conv_int8(&own, c->in + rows.in * own.shape.channels, c->out + rows.out * own.shape.out_channels, scratch);
}

static void share_conv_int8(const conv_int8 *layer, const int8_t *in, int8_t *out, void *scratch)
{
    shared_conv_int8 context = {layer, in, out, scratch};
    share(part_of_conv_int8, &context);
}

#else

static inline void share_conv_int8(const conv_int8 *layer, const int8_t *in, int8_t *out, void *scratch)
{
    run_conv_int8(layer, in, out, scratch);
}

#endif
