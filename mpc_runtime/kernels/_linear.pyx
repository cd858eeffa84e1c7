"""Matrix product and convolution over Z_2^64.

Checks types and shapes, finds strides, and calls the C kernels (``src/linear.h``) without the GIL. A ring Z_2^l with
l < 64 uses the same products: only the low l bits of the result count, which a kernel that is told so (``bits``) may
compute by themselves. All operands are uint64 arrays. The number of
threads for a large product is the environment variable ``MPC_THREADS`` (1 if it is not set).
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

import os

import numpy as np

cimport numpy as cnp

include "level.pxi"

cnp.import_array()

__all__ = ["conv2d", "matmul"]

cdef extern from "linear.h" nogil:
    enum:
        MPC_MAX_BATCH_DIMS
    ctypedef struct mpc_matmul_args:
        size_t m, n, k
        const uint64_t *a
        const uint64_t *b
        uint64_t *c
        Py_ssize_t a_row, a_col, b_row, b_col, c_row
        int sign, bits
    ctypedef struct mpc_batch:
        int dims
        size_t size[16]
        Py_ssize_t a[16]
        Py_ssize_t b[16]
        Py_ssize_t c[16]
    ctypedef struct mpc_conv_args:
        size_t images, groups, ins, outs, in_h, in_w, out_h, out_w, k_h, k_w
        size_t stride_h, stride_w, dilation_h, dilation_w
        Py_ssize_t pad_top, pad_left
        Py_ssize_t x_image, x_channel, w_out, w_channel
        const uint64_t *x
        const uint64_t *w
        uint64_t *out
        int sign, bits
    int mpc_matmul(const mpc_matmul_args *args, const mpc_batch *batch, int threads)
    int mpc_conv2d(const mpc_conv_args *args, int threads)
    int mpc_conv2d_any_weights(const mpc_conv_args *args)


# Strides, dilations and padding, and elements along an axis: no product or sum of sizes below overflows 64 bits
cdef Py_ssize_t MAX_PIXELS = 1048576
cdef Py_ssize_t MAX_AXIS = 2147483648

cdef int _threads = int(os.environ.get("MPC_THREADS") or 1)


cdef cnp.ndarray _words(object array, str name):
    """`array`, checked to be a uint64 array whose strides are whole words."""
    if not isinstance(array, np.ndarray) or (<cnp.ndarray> array).descr.type_num != cnp.NPY_UINT64:
        found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name}: expected a uint64 array, found {found}")
    cdef cnp.ndarray words = array
    cdef int d
    if not cnp.PyArray_ISBEHAVED_RO(words):
        raise ValueError(f"{name}: expected an aligned array in the machine's byte order")
    for d in range(words.ndim):
        if words.strides[d] % 8:
            raise ValueError(f"{name}: expected strides of whole 8-byte words, found {array.strides}")
    return words


cdef bint _has_shape(cnp.ndarray array, tuple shape):
    """Whether array.shape == shape, without making a tuple of it."""
    cdef int d
    if array.ndim != len(shape):
        return False
    for d in range(array.ndim):
        if array.shape[d] != <Py_ssize_t> shape[d]:
            return False
    return True


cdef int _check_out(object out, tuple shape, int sign) except -1:
    """Check the result array; with a sign there must be one."""
    if sign not in (-1, 0, 1):
        raise ValueError(f"sign: expected -1, 0 or 1, found {sign}")
    if out is None:
        if sign:
            raise ValueError("out: expected an array to add to or subtract from (sign is not 0), found None")
        return 0
    _words(out, "out")
    if not _has_shape(out, shape):
        raise ValueError(f"out: expected shape {shape}, found {out.shape}")
    if not cnp.PyArray_ISWRITEABLE(out):
        raise ValueError("out: expected a writable array")
    return 0


cdef int _checked_bits(int bits) except -1:
    """How many low bits of a result are used."""
    if not 1 <= bits <= 64:
        raise ValueError(f"bits: expected 1 to 64, found {bits}")
    return bits


cdef Py_ssize_t _stride(cnp.ndarray array, int axis):
    """Stride in words; 0 for an axis of length 1, where it does not matter."""
    return 0 if array.shape[axis] == 1 else array.strides[axis] // 8


cdef bint _rows_follow(cnp.ndarray image) noexcept:
    """Whether each plane is its rows, one after the other: not so where rows or columns are broadcast (stride 0)."""
    cdef Py_ssize_t high = image.shape[2], wide = image.shape[3]
    return (wide == 1 or image.strides[3] == 8) and (high == 1 or image.strides[2] == 8 * wide)


cdef void _bounds(cnp.ndarray array, char **low, char **high) noexcept:
    """The memory [low, high) from an array's first word to its last; nothing if it has none."""
    cdef int d
    low[0] = high[0] = <char *> cnp.PyArray_DATA(array)
    for d in range(array.ndim):
        if array.shape[d] == 0:
            high[0] = low[0]
            return
        if array.strides[d] < 0:
            low[0] += (array.shape[d] - 1) * array.strides[d]
        else:
            high[0] += (array.shape[d] - 1) * array.strides[d]
    high[0] += sizeof(uint64_t)


cdef bint _apart(cnp.ndarray one, cnp.ndarray other) noexcept:
    """Whether two arrays lie apart: not np.may_share_memory, whose time a small product would notice."""
    cdef char *low = NULL
    cdef char *high = NULL
    cdef char *other_low = NULL
    cdef char *other_high = NULL
    _bounds(one, &low, &high)
    _bounds(other, &other_low, &other_high)
    return low == high or other_low == other_high or high <= other_low or other_high <= low


cdef object _target(cnp.ndarray out, cnp.ndarray a, cnp.ndarray b, bint direct, int sign):
    """The array that the kernel writes: `out`, or a copy of it if that is laid out otherwise or overlaps an operand."""
    if direct and _apart(out, a) and _apart(out, b):
        return out
    return np.ascontiguousarray(out).copy() if sign else np.empty((<object> out).shape, np.uint64)


def matmul(a, b, out=None, int sign=0, int bits=64):
    """The product mod 2^64 of matrices, or of stacks of them.

    a: uint64 [..., m, k], b: uint64 [..., k, n], of any strides (a transposed view is not copied); the leading
    dimensions broadcast as in NumPy. With `sign` 0 the result, uint64 [..., m, n], is stored in `out`, or in a new
    array; with +1 it is added to `out`, with -1 subtracted. Returns the result array. `out` may overlap an operand.
    bits: how many low bits of the result are used; the others may come out as anything.

    Raises ValueError if a type, shape, `sign` or `bits` is wrong.
    """
    cdef cnp.ndarray left = _words(a, "a"), right = _words(b, "b"), result
    cdef mpc_matmul_args args
    cdef mpc_batch batch
    cdef int failed, d, axis, dims
    if left.ndim < 2 or right.ndim < 2:
        raise ValueError(f"matmul: expected two matrices or stacks of them, found shapes {a.shape} and {b.shape}")
    if left.shape[left.ndim - 1] != right.shape[right.ndim - 2]:
        raise ValueError(f"matmul: expected inner dimensions that are equal, found shapes {a.shape} and {b.shape}")
    dims = max(left.ndim, right.ndim) - 2
    if dims > MPC_MAX_BATCH_DIMS:
        raise ValueError(f"matmul: expected at most {MPC_MAX_BATCH_DIMS} leading dimensions, found {dims}")
    args.m = left.shape[left.ndim - 2]
    args.k = left.shape[left.ndim - 1]
    args.n = right.shape[right.ndim - 1]
    leading = ()
    if dims:
        try:
            leading = np.broadcast_shapes(a.shape[: left.ndim - 2], b.shape[: right.ndim - 2])
        except ValueError:
            raise ValueError(f"matmul: the leading dimensions of {a.shape} and {b.shape} do not broadcast") from None
    shape = (*leading, args.m, args.n)
    _check_out(out, shape, sign)
    if out is None:
        target = out = np.empty(shape, np.uint64)
    else:
        result = out
        target = _target(out, a, b, args.n == 1 or result.strides[result.ndim - 1] == 8, sign)
    result = target

    args.a = <const uint64_t *> cnp.PyArray_DATA(left)
    args.b = <const uint64_t *> cnp.PyArray_DATA(right)
    args.c = <uint64_t *> cnp.PyArray_DATA(result)
    args.a_row = _stride(left, left.ndim - 2)
    args.a_col = _stride(left, left.ndim - 1)
    args.b_row = _stride(right, right.ndim - 2)
    args.b_col = _stride(right, right.ndim - 1)
    args.c_row = _stride(result, result.ndim - 2)
    args.sign, args.bits = sign, _checked_bits(bits)
    batch.dims = dims
    for d in range(dims):
        batch.size[d] = result.shape[d]
        batch.c[d] = _stride(result, d)
        axis = d - dims + left.ndim - 2
        batch.a[d] = _stride(left, axis) if axis >= 0 else 0
        axis = d - dims + right.ndim - 2
        batch.b[d] = _stride(right, axis) if axis >= 0 else 0
    with nogil:
        _simplify(&args, &batch)
        failed = mpc_matmul(&args, &batch, _threads)
    if failed:
        raise MemoryError("matmul: no memory for the packing buffers")
    if target is not out:
        np.copyto(out, target)
    return out


cdef void _simplify(mpc_matmul_args *args, mpc_batch *batch) noexcept nogil:
    """Bring a product to a form that the kernels are fast on; the result is the same."""
    cdef int d, last
    cdef Py_ssize_t row
    if args.k == 1:
        args.a_col = 1
    while batch.dims and batch.size[batch.dims - 1] == 1:
        batch.dims -= 1
    # A stack of matrices times one matrix is one tall product.
    while batch.dims:
        last = batch.dims - 1
        if batch.b[last] != 0:
            break
        if args.m == 1:
            args.a_row = batch.a[last]
            args.c_row = batch.c[last]
        elif (batch.a[last] != <Py_ssize_t> args.m * args.a_row) or (batch.c[last] != <Py_ssize_t> args.m * args.c_row):
            break
        args.m *= batch.size[last]
        batch.dims = last
    if args.n != 1:
        return
    args.b_col = 1
    if args.c_row != 1:
        return
    # A column as the result: the transposed product, whose result is a row of contiguous elements.
    args.a, args.b = args.b, args.a
    row = args.b_row
    args.b_row, args.b_col = args.a_col, args.a_row
    args.a_row, args.a_col = 0, row
    args.n, args.m = args.m, 1
    args.c_row = 0
    for d in range(batch.dims):
        batch.a[d], batch.b[d] = batch.b[d], batch.a[d]


def conv2d(x, w, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), Py_ssize_t groups=1, out=None, int sign=0,
           int bits=64):
    """The convolution mod 2^64 (as in machine learning: the kernel is not flipped).

    x: uint64 [N, C, H, W]; w: uint64 [O, C/groups, kh, kw]; `stride` and `dilation`: (vertical, horizontal) in pixels;
    `padding`: zeros at (top, bottom, left, right). Returns uint64 [N, O, OH, OW] with
    OH = (H + top + bottom - dilation*(kh - 1) - 1) // stride + 1. `out`, `sign` and `bits` are as in `matmul`.

    Raises ValueError if a type, shape, `sign` or `bits` is wrong, or if the kernel is larger than the padded image.
    """
    cdef cnp.ndarray image = _words(x, "x"), kernel = _words(w, "w"), result
    cdef mpc_conv_args args
    cdef Py_ssize_t top, bottom, left, right, channels, outs, high, wide
    cdef int failed
    if image.ndim != 4 or kernel.ndim != 4:
        raise ValueError("conv2d: expected x [N, C, H, W] and w [O, C/groups, kh, kw], "
                         f"found shapes {x.shape} and {w.shape}")
    args.stride_h, args.stride_w = _positive_pair(stride, "stride")
    args.dilation_h, args.dilation_w = _positive_pair(dilation, "dilation")
    if len(padding) != 4 or min(padding) < 0 or max(padding) > MAX_PIXELS:
        raise ValueError(f"conv2d: padding: expected (top, bottom, left, right) of 0 to {MAX_PIXELS}, found {padding}")
    top, bottom, left, right = padding
    if max(*x.shape, *w.shape) > MAX_AXIS:
        raise ValueError(f"conv2d: expected at most {MAX_AXIS} elements along an axis, "
                         f"found shapes {x.shape} and {w.shape}")
    channels, outs = image.shape[1], kernel.shape[0]
    if groups < 1 or channels % groups or outs % groups or channels // groups != kernel.shape[1]:
        raise ValueError(f"conv2d: {channels} channels, {groups} groups and w of shape {w.shape} do not fit: "
                         "expected w [O, C/groups, kh, kw] with O and C multiples of groups")
    if kernel.shape[2] == 0 or kernel.shape[3] == 0:
        raise ValueError(f"conv2d: expected a kernel of at least 1x1, found w of shape {w.shape}")
    high = image.shape[2] + top + bottom - args.dilation_h * (kernel.shape[2] - 1) - 1
    wide = image.shape[3] + left + right - args.dilation_w * (kernel.shape[3] - 1) - 1
    if high < 0 or wide < 0:
        raise ValueError(f"conv2d: the kernel {w.shape[2:]} with dilation {tuple(dilation)} is larger than the image "
                         f"{x.shape[2:]} with padding {tuple(padding)}")
    args.images = image.shape[0]
    args.groups = groups
    args.ins, args.outs = channels // groups, outs // groups
    args.in_h, args.in_w = image.shape[2], image.shape[3]
    args.k_h, args.k_w = kernel.shape[2], kernel.shape[3]
    args.out_h, args.out_w = high // args.stride_h + 1, wide // args.stride_w + 1
    args.pad_top, args.pad_left = top, left
    args.sign, args.bits = sign, _checked_bits(bits)
    shape = (args.images, outs, args.out_h, args.out_w)
    _check_out(out, shape, sign)
    if out is None:
        target = out = np.empty(shape, np.uint64)
    else:
        target = _target(out, x, w, cnp.PyArray_IS_C_CONTIGUOUS(out), sign)
    result = target
    if result.size == 0 or kernel.size == 0:
        if not sign:
            out.fill(0)
        return out

    if not cnp.PyArray_IS_C_CONTIGUOUS(kernel) and not (_rows_follow(kernel) and mpc_conv2d_any_weights(&args)):
        kernel = np.ascontiguousarray(w)
    if not _rows_follow(image):
        image = np.ascontiguousarray(x)
    args.x_image, args.x_channel = _stride(image, 0), _stride(image, 1)
    args.x = <const uint64_t *> cnp.PyArray_DATA(image)
    args.w_out, args.w_channel = _stride(kernel, 0), _stride(kernel, 1)
    args.w = <const uint64_t *> cnp.PyArray_DATA(kernel)
    args.out = <uint64_t *> cnp.PyArray_DATA(result)
    if (args.k_h * args.k_w * args.stride_h * args.stride_w == 1 and args.out_h == args.in_h and args.out_w == args.in_w
            and <Py_ssize_t> args.images >= _threads):
        # One by one: the plane is one long row. (Threads share out rows, so there must be enough left.)
        args.out_w = args.in_w = args.in_h * args.in_w
        args.out_h = args.in_h = 1
    with nogil:
        failed = mpc_conv2d(&args, _threads)
    if failed:
        raise MemoryError("conv2d: no memory for the packing buffers")
    if target is not out:
        np.copyto(out, target)
    return out


cdef tuple _positive_pair(object pair, str name):
    """Two numbers of pixels, vertical and horizontal."""
    high, wide = pair
    if not (1 <= high <= MAX_PIXELS and 1 <= wide <= MAX_PIXELS):
        raise ValueError(f"conv2d: {name}: expected two numbers of 1 to {MAX_PIXELS}, found {pair}")
    return high, wide
