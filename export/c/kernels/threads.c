/* Compiled with -DTHREADS=n -pthread, large layers share their rows among n threads of a pool that starts at the first. */
#ifndef THREADS
#define THREADS 1
#endif

#if THREADS > 1

#include <pthread.h>
#include <sched.h>

typedef void (*share_of_work)(const void *context, int32_t part);

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    share_of_work work;
    const void *context;
    int32_t turn, left, started;
} pool = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, NULL, 0, 0, 0};

enum { SPINS = 20000 }; /* about as long as waking a thread takes */

/* Waits for the turn after `seen`: layers follow each other sooner than a sleeping thread wakes. */
static int32_t next_turn(int32_t seen)
{
    for (int32_t i = 0; i < SPINS; i++)
        if (__atomic_load_n(&pool.turn, __ATOMIC_ACQUIRE) != seen)
            return seen + 1;
    pthread_mutex_lock(&pool.lock);
    while (pool.turn == seen)
        pthread_cond_wait(&pool.more, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    return seen + 1;
}

static void *work_on(void *part)
{
    for (int32_t seen = 0;;) {
        seen = next_turn(seen);
        pool.work(pool.context, (int32_t)(intptr_t)part);
        __atomic_sub_fetch(&pool.left, 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void start_pool(void)
{
    for (; pool.started < THREADS - 1; pool.started++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work_on, (void *)(intptr_t)(pool.started + 1)))
            break;
        pthread_detach(thread);
    }
}

/* Calls work(context, part) for each part at once; those for which no thread could be started come after the first. */
static void share(share_of_work work, const void *context)
{
    start_pool();
    pool.work = work;
    pool.context = context;
    __atomic_store_n(&pool.left, pool.started, __ATOMIC_RELAXED);
    pthread_mutex_lock(&pool.lock);
    __atomic_store_n(&pool.turn, pool.turn + 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&pool.more);
    pthread_mutex_unlock(&pool.lock);
    work(context, 0);
    for (int32_t part = pool.started + 1; part < THREADS; part++)
        work(context, part);
    for (int32_t i = 0; __atomic_load_n(&pool.left, __ATOMIC_ACQUIRE) > 0; i++)
        if (i > SPINS)
            sched_yield();
}

/* One part of a layer's rows: its geometry, and where its input and output begin, in pixels. */
typedef struct {
    geometry shape;
    int32_t in, out;
} layer_rows;

static layer_rows rows_of_part(const geometry *g, int32_t part)
{
    int32_t first = g->out_height * part / THREADS, last = g->out_height * (part + 1) / THREADS;
    int32_t top = first * g->stride_height - g->pad_top, skipped = top > 0 ? top : 0;
    int32_t end = (last - 1) * g->stride_height - g->pad_top + (g->kernel_height - 1) * g->dilation_height + 1;
    layer_rows rows = {*g, skipped * g->width, first * g->out_width};
    rows.shape.out_height = last - first;
    rows.shape.pad_top = top < 0 ? -top : 0;
    rows.shape.height = (end < g->height ? end : g->height) - skipped;
    return rows;
}

#endif
