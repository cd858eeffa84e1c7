"""The kernels as an object, which executors lend to the gates. Kernels for another device are a subclass.

Its members are the functions themselves: a call costs one look-up more, and no signature is written twice.
"""

from __future__ import annotations

import numpy as np

from . import _compare, _elementwise, _linear, _pack, _prg, _table

__all__ = ["CPU", "Kernels"]


class Kernels:
    """What gates compute with, on this machine's processor: functions of arrays of words, bits and planes.

    The operators of arrays (`+`, `*`, `^` …) belong to the arrays; here is what has no operator or writes to `out`.
    Sizes are not here: plans fix them (`sizes.py`).
    """

    Prg = _prg.Prg

    add = np.add
    subtract = np.subtract
    negative = np.negative

    matmul = staticmethod(_linear.matmul)
    conv2d = staticmethod(_linear.conv2d)

    mul_eval = staticmethod(_elementwise.mul_eval)
    square_eval = staticmethod(_elementwise.square_eval)
    square_sums = staticmethod(_elementwise.square_sums)
    trunc_deal = staticmethod(_elementwise.trunc_deal)
    trunc_eval = staticmethod(_elementwise.trunc_eval)
    select_deal = staticmethod(_elementwise.select_deal)
    select_eval = staticmethod(_elementwise.select_eval)
    choose_eval = staticmethod(_elementwise.choose_eval)
    b2a_eval = staticmethod(_elementwise.b2a_eval)
    open_deal = staticmethod(_elementwise.open_deal)

    leaf_deal = staticmethod(_compare.leaf_deal)
    leaf_read = staticmethod(_compare.leaf_read)
    combine_deal = staticmethod(_compare.combine_deal)
    combine_eval = staticmethod(_compare.combine_eval)
    word_bit = staticmethod(_compare.word_bit)

    stencil_weights = staticmethod(_table.stencil_weights)
    table_deal = staticmethod(_table.table_deal)
    table_eval = staticmethod(_table.table_eval)

    pack = staticmethod(_pack.pack)
    unpack = staticmethod(_pack.unpack)
    unpack_add = staticmethod(_pack.unpack_add)
    mask_pack = staticmethod(_pack.mask_pack)
    share_pack = staticmethod(_pack.share_pack)
    bits_to_planes = staticmethod(_pack.bits_to_planes)
    planes_to_bits = staticmethod(_pack.planes_to_bits)
    planes_fill = staticmethod(_pack.planes_fill)
    planes_unpack = staticmethod(_pack.planes_unpack)
    planes_unpack_xor = staticmethod(_pack.planes_unpack_xor)
    planes_mask_pack = staticmethod(_pack.planes_mask_pack)
    planes_share_pack = staticmethod(_pack.planes_share_pack)


CPU = Kernels()
