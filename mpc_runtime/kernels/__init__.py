"""Kernels: everything that is done per element, in C, without the GIL. Checks of shapes and types happen here; secrets,
masks and protocols are the gates' business."""

from . import _compare, _elementwise, _linear, _pack, _prg, _table, dispatch
from ._compare import combine_deal, combine_eval, combine_planes, leaf_deal, leaf_read, table_planes, word_bit
from ._elementwise import (
    b2a_eval,
    choose_eval,
    mul_eval,
    open_deal,
    select_deal,
    select_eval,
    square_eval,
    square_sums,
    trunc_deal,
    trunc_eval,
)
from ._linear import conv2d, matmul
from ._pack import (
    bits_to_planes,
    mask_pack,
    pack,
    packed_size,
    planes_fill,
    planes_mask_pack,
    planes_pack,
    planes_share_pack,
    planes_size,
    planes_to_bits,
    planes_unpack,
    planes_unpack_xor,
    share_pack,
    unpack,
    unpack_add,
)
from ._prg import Prg, prg_implementations
from ._table import stencil_weights, table_deal, table_eval
from .cpu import CPU, Kernels
from .dispatch import set_variant, variant, variants

__all__ = [
    "CPU",
    "Kernels",
    "Prg",
    "b2a_eval",
    "bits_to_planes",
    "choose_eval",
    "combine_deal",
    "combine_eval",
    "combine_planes",
    "conv2d",
    "leaf_deal",
    "leaf_read",
    "mask_pack",
    "matmul",
    "mul_eval",
    "open_deal",
    "pack",
    "packed_size",
    "planes_fill",
    "planes_mask_pack",
    "planes_pack",
    "planes_share_pack",
    "planes_size",
    "planes_to_bits",
    "planes_unpack",
    "planes_unpack_xor",
    "prg_implementations",
    "select_deal",
    "select_eval",
    "set_variant",
    "share_pack",
    "square_eval",
    "square_sums",
    "stencil_weights",
    "table_deal",
    "table_eval",
    "table_planes",
    "trunc_deal",
    "trunc_eval",
    "unpack",
    "unpack_add",
    "variant",
    "variants",
    "word_bit",
]

dispatch.register(_linear, _prg, _pack, _compare, _elementwise, _table)
