/* Matrix product and convolution over Z_2^64: the interface between _linear.pyx, the dispatcher (linear.c) and the
 * variants (linear.inc.h compiled per instruction set). Strides are in elements, not bytes. */
#ifndef MPC_LINEAR_H
#define MPC_LINEAR_H

#include <stddef.h>
#include <stdint.h>

enum { MPC_MAX_BATCH_DIMS = 16 };

/* c (op)= a @ b, with a [m, k], b [k, n], c [m, n]. `sign`: 0 stores, +1 adds, -1 subtracts. The columns of c are
 * contiguous; a and b have any strides. bits: how many low bits of c are used; the others may become anything. */
typedef struct {
    size_t m, n, k;
    const uint64_t *a, *b;
    uint64_t *c;
    ptrdiff_t a_row, a_col, b_row, b_col, c_row;
    int sign, bits;
} mpc_matmul_args;

/* The batch dimensions of a matrix product: `dims` sizes and each operand's stride (0 where it broadcasts). */
typedef struct {
    int dims;
    size_t size[MPC_MAX_BATCH_DIMS];
    ptrdiff_t a[MPC_MAX_BATCH_DIMS], b[MPC_MAX_BATCH_DIMS], c[MPC_MAX_BATCH_DIMS];
} mpc_batch;

/* out [images, groups*outs, out_h, out_w] (op)= the convolution of x [images, groups*ins, in_h, in_w] (its planes
 * contiguous, x_image and x_channel apart) with w [groups*outs, ins, k_h, k_w]; out is contiguous. w is contiguous too
 * unless mpc_conv2d_any_weights; then its entries [k_h, k_w] are, w_out and w_channel apart. bits: as of a product. */
typedef struct {
    size_t images, groups, ins, outs, in_h, in_w, out_h, out_w, k_h, k_w;
    size_t stride_h, stride_w, dilation_h, dilation_w;
    ptrdiff_t pad_top, pad_left;
    ptrdiff_t x_image, x_channel, w_out, w_channel;
    const uint64_t *x, *w;
    uint64_t *out;
    int sign, bits;
} mpc_conv_args;

/* Both return 0, or -1 when there is no memory. */
int mpc_matmul(const mpc_matmul_args *args, const mpc_batch *batch, int threads);
int mpc_conv2d(const mpc_conv_args *args, int threads);

int mpc_conv2d_any_weights(const mpc_conv_args *args);

/* What one variant offers. `matmul` is one product on this thread. `conv2d` computes group `group` of output rows
 * [from, to) (of images*out_h) on this thread. `work` has room for work_words words, aligned to 64 bytes. */
typedef struct {
    void (*matmul)(const mpc_matmul_args *args, uint64_t *work);
    void (*conv2d)(const mpc_conv_args *args, size_t group, size_t from, size_t to, uint64_t *work);
    int (*any_weights)(const mpc_conv_args *args); /* see mpc_conv2d_any_weights */
    size_t work_words;
    size_t columns; /* width of a register tile: threads split at its multiples */
} mpc_linear_variant;

extern const mpc_linear_variant mpc_linear_portable, mpc_linear_neon, mpc_linear_avx2, mpc_linear_avx512, mpc_linear_ifma,
    mpc_linear_amx;

#endif
