#if THREADS > 1

typedef struct {
    const conv_int8 *layer;
    const int8_t *in;
    int8_t *out;
} shared_depthwise_int8;

static void part_of_depthwise_int8(const void *context, int32_t part)
{
    const shared_depthwise_int8 *c = (const shared_depthwise_int8 *)context;
    const layer_rows rows = rows_of_part(&c->layer->shape, part);
    conv_int8 own = *c->layer;
    own.shape = rows.shape;
    run_depthwise_int8(&own, c->in + rows.in * own.shape.channels, c->out + rows.out * own.shape.out_channels, NULL);
}

static void share_depthwise_int8(const conv_int8 *layer, const int8_t *in, int8_t *out, void *scratch)
{
    (void)scratch;
    shared_depthwise_int8 context = {layer, in, out};
    share(part_of_depthwise_int8, &context);
}

#else

static inline void share_depthwise_int8(const conv_int8 *layer, const int8_t *in, int8_t *out, void *scratch)
{
    run_depthwise_int8(layer, in, out, scratch);
}

#endif
