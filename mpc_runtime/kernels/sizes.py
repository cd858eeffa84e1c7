"""Sizes of what kernels read and write: plans fix them, so they are the same whatever computes."""

from ._compare import combine_planes, table_planes
from ._pack import packed_size, planes_size

__all__ = ["combine_planes", "packed_size", "planes_size", "table_planes"]
