#if THREADS > 1

typedef struct {
    const $layer *layer;
    const $in *in;
    $out *out;
} shared_$kernel;

static void part_of_$kernel(const void *context, int32_t part)
{
    const shared_$kernel *c = (const shared_$kernel *)context;
    const layer_rows rows = rows_of_part(&c->layer->shape, part);
    $layer own = *c->layer;
    own.shape = rows.shape;
    run_$kernel(&own, c->in + rows.in * $in_pixel, c->out + rows.out * $out_pixel);
}

static void share_$kernel(const $layer *layer, const $in *in, $out *out)
{
    shared_$kernel context = {layer, in, out};
    share(part_of_$kernel, &context);
}

#else

static inline void share_$kernel(const $layer *layer, const $in *in, $out *out)
{
    run_$kernel(layer, in, out);
}

#endif
