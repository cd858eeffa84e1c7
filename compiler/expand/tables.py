"""How finely sample tables are interpolated: what all of them have in common."""

WEIGHT_BITS = 18
"""Fraction bits of interpolation weights."""

INDEX_BITS = 12
"""Bits of the place within a cell that choose the interpolation weights: their error is h 2^-13 |F'|."""
