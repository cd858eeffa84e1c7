"""Checks of NumPy arguments, for the modules beside this one: each gives the data pointer or raises ValueError.

Contiguous arrays of any shape count as flat. Nothing is copied or converted: a kernel's caller owns its memory."""

cimport numpy as cnp
from libc.stdint cimport uint8_t, uint64_t


cdef inline object _describe(object x):
    if not cnp.PyArray_Check(x):
        return f"a {type(x).__name__}"
    flags = "C-contiguous" if x.flags.c_contiguous else "strided"
    return f"a {flags}{'' if x.flags.writeable else ' read-only'} {x.dtype} array of shape {x.shape}"


cdef inline int _check(object x, str name, int itemsize, bint writable) except -1:
    if (
        cnp.PyArray_Check(x)
        and cnp.PyArray_ITEMSIZE(x) == itemsize
        and cnp.PyArray_ISUNSIGNED(x)
        and cnp.PyArray_IS_C_CONTIGUOUS(x)
        and (cnp.PyArray_ISBEHAVED(x) if writable else cnp.PyArray_ISBEHAVED_RO(x))
    ):
        return 0
    wanted = "writable " if writable else ""
    raise ValueError(f"{name}: expected a {wanted}C-contiguous uint{8 * itemsize} array, found {_describe(x)}")


cdef inline uint64_t *words_in(object x, str name) except? NULL:
    _check(x, name, 8, False)
    return <uint64_t *> cnp.PyArray_DATA(x)


cdef inline uint64_t *words_out(object x, str name) except? NULL:
    _check(x, name, 8, True)
    return <uint64_t *> cnp.PyArray_DATA(x)


cdef inline uint8_t *bytes_in(object x, str name) except? NULL:
    _check(x, name, 1, False)
    return <uint8_t *> cnp.PyArray_DATA(x)


cdef inline uint8_t *bytes_out(object x, str name) except? NULL:
    _check(x, name, 1, True)
    return <uint8_t *> cnp.PyArray_DATA(x)


cdef inline int same_size(object x, Py_ssize_t size, str name) except -1:
    if cnp.PyArray_SIZE(x) != size:
        raise ValueError(f"{name}: expected {size} elements, found {cnp.PyArray_SIZE(x)} in shape {x.shape}")
    return 0


cdef inline int same_shape(object x, tuple shape, str name) except -1:
    if x.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, found {x.shape}")
    return 0


cdef inline int in_range(int value, int low, int high, str name) except -1:
    if not low <= value <= high:
        raise ValueError(f"{name}: expected {low} .. {high}, found {value}")
    return 0
