"""placeholder"""
include "level.pxi"
__all__ = []
