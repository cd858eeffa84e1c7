/* Matrix product and convolution: the table of variants, batches and threads. */
#include "linear.h"

#include "cpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const mpc_linear_variant *const VARIANTS[MPC_LEVELS] = {
    [MPC_PORTABLE] = &mpc_linear_portable,
#if MPC_ARM
    [MPC_NEON] = &mpc_linear_neon,
#elif MPC_X86
    [MPC_AVX2] = &mpc_linear_avx2,
    [MPC_AVX512] = &mpc_linear_avx512,
#if MPC_AMX_COMPILED
    [MPC_AMX] = &mpc_linear_amx,
#endif
#endif
};

enum { MAX_THREADS = 64, ALIGNMENT = 64, IFMA_BITS = 52 };

/* The variant for results of which `bits` bits are used. */
static const mpc_linear_variant *variant_for(int bits) {
#if MPC_X86
    if (bits <= IFMA_BITS && (mpc_features() & MPC_HAS_IFMA)) return &mpc_linear_ifma;
#endif
    (void)bits;
    return VARIANTS[mpc_level()];
}

/* Products below this per thread are not worth the start of one (some 20 us, 10^6 multiplications). */
static const double WORTH_A_THREAD = 4e6;

/* ---- the packing buffers of each thread, kept until it ends: a call on a small matrix must not pay for pages --- */

static pthread_key_t workspace_key;
static pthread_once_t workspace_once = PTHREAD_ONCE_INIT;

static void make_workspace_key(void) { pthread_key_create(&workspace_key, free); }

static uint64_t *workspace(void) {
    pthread_once(&workspace_once, make_workspace_key);
    void *words = pthread_getspecific(workspace_key);
    if (words != NULL) return words;
    size_t most = 0;
    for (int level = 0; level < MPC_LEVELS; level++)
        if (VARIANTS[level] != NULL && VARIANTS[level]->work_words > most) most = VARIANTS[level]->work_words;
#if MPC_X86
    if (mpc_linear_ifma.work_words > most) most = mpc_linear_ifma.work_words;
#endif
    if (posix_memalign(&words, ALIGNMENT, most * sizeof(uint64_t)) != 0) return NULL;
    pthread_setspecific(workspace_key, words);
    return words;
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

typedef struct job {
    const mpc_linear_variant *variant;
    const mpc_matmul_args *product; /* one of the two is set */
    const mpc_conv_args *conv;
    const mpc_batch *batch;
    size_t parts, part;
    int failed;
    void (*run)(struct job *, uint64_t *work);
} job;

static void *run_job(void *argument) {
    job *j = argument;
    uint64_t *work = workspace();
    if (work == NULL)
        j->failed = 1;
    else
        j->run(j, work);
    return NULL;
}

/* Runs `model` once for each part; a thread that cannot be started is done by this one. */
static int run_parts(job model, size_t parts) {
    job jobs[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    int started[MAX_THREADS] = {0}, failed = 0;
    for (size_t i = 0; i < parts; i++) {
        jobs[i] = model;
        jobs[i].parts = parts;
        jobs[i].part = i;
        started[i] = i > 0 && pthread_create(&threads[i], NULL, run_job, &jobs[i]) == 0;
    }
    for (size_t i = 0; i < parts; i++) {
        if (started[i])
            pthread_join(threads[i], NULL);
        else
            run_job(&jobs[i]);
        failed |= jobs[i].failed;
    }
    return failed ? -1 : 0;
}

static size_t parts_for(double products, int threads, size_t pieces) {
    size_t parts = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : (size_t)threads;
    if (products / WORTH_A_THREAD < (double)parts) parts = (size_t)(products / WORTH_A_THREAD);
    if (parts > pieces) parts = pieces;
    return parts < 1 ? 1 : parts;
}

/* Start of part `part` when `total` is cut into `parts` at multiples of `unit`. */
static size_t cut(size_t total, size_t unit, size_t parts, size_t part) {
    const size_t units = (total + unit - 1) / unit, at = units * part / parts * unit;
    return at < total ? at : total;
}

/* ---- matrix product -------------------------------------------------------------------------------------------- */

/* One item of the batch, or the part of it that falls to this thread: rows or columns, whichever there are more of. */
static void run_item(const job *j, mpc_matmul_args g, size_t parts, size_t part, uint64_t *work) {
    const size_t unit = j->variant->columns;
    if (g.m > g.n) {
        const size_t from = cut(g.m, unit, parts, part), to = cut(g.m, unit, parts, part + 1);
        g.a += (ptrdiff_t)from * g.a_row;
        g.c += (ptrdiff_t)from * g.c_row;
        g.m = to - from;
    } else {
        const size_t from = cut(g.n, unit, parts, part), to = cut(g.n, unit, parts, part + 1);
        g.b += (ptrdiff_t)from * g.b_col;
        g.c += from;
        g.n = to - from;
    }
    j->variant->matmul(&g, work);
}

static size_t batch_items(const mpc_batch *batch) {
    size_t items = 1;
    for (int d = 0; d < batch->dims; d++) items *= batch->size[d];
    return items;
}

static void run_matmul(job *j, uint64_t *work) {
    const mpc_batch *batch = j->batch;
    const size_t items = batch_items(batch);
    const int by_item = items >= j->parts; /* else every item is cut */
    const size_t from = by_item ? cut(items, 1, j->parts, j->part) : 0;
    const size_t to = by_item ? cut(items, 1, j->parts, j->part + 1) : items;
    for (size_t item = from; item < to; item++) {
        mpc_matmul_args g = *j->product;
        size_t rest = item;
        for (int d = batch->dims - 1; d >= 0; d--) {
            const ptrdiff_t at = (ptrdiff_t)(rest % batch->size[d]);
            rest /= batch->size[d];
            g.a += at * batch->a[d];
            g.b += at * batch->b[d];
            g.c += at * batch->c[d];
        }
        if (by_item)
            j->variant->matmul(&g, work);
        else
            run_item(j, g, j->parts, j->part, work);
    }
}

int mpc_matmul(const mpc_matmul_args *args, const mpc_batch *batch, int threads) {
    const mpc_linear_variant *variant = variant_for(args->bits);
    const size_t items = batch_items(batch), longer = args->m > args->n ? args->m : args->n;
    const size_t pieces = items > longer / variant->columns ? items : longer / variant->columns;
    const double products = (double)items * (double)args->m * (double)args->n * (double)args->k;
    const job model = {.variant = variant, .product = args, .batch = batch, .run = run_matmul};
    return run_parts(model, parts_for(products, threads, pieces));
}

/* ---- convolution ------------------------------------------------------------------------------------------------- */

static void run_conv2d(job *j, uint64_t *work) {
    const mpc_conv_args *g = j->conv;
    const size_t rows = g->images * g->out_h;
    const size_t from = cut(rows, 1, j->parts, j->part), to = cut(rows, 1, j->parts, j->part + 1);
    for (size_t group = 0; group < g->groups && from < to; group++) j->variant->conv2d(g, group, from, to, work);
}

int mpc_conv2d_any_weights(const mpc_conv_args *args) { return variant_for(args->bits)->any_weights(args); }

int mpc_conv2d(const mpc_conv_args *args, int threads) {
    const size_t rows = args->images * args->out_h;
    const double products = (double)(rows * args->out_w) * (double)(args->groups * args->outs) *
                            (double)(args->ins * args->k_h * args->k_w);
    const job model = {.variant = variant_for(args->bits), .conv = args, .run = run_conv2d};
    return run_parts(model, parts_for(products, threads, rows));
}
