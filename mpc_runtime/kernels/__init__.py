"""Kernels: everything that is done per element, in C, without the GIL. Checks of shapes and types happen here; secrets,
masks and protocols are the gates' business."""

import importlib as _importlib
import importlib.util as _util

from . import dispatch
from .dispatch import set_variant, variant, variants

__all__ = ["set_variant", "variant", "variants"]

for _name in ("_linear", "_prg", "_pack", "_compare", "_elementwise", "_table"):
    if _util.find_spec(f"{__name__}.{_name}") is None:
        continue
    _module = _importlib.import_module(f"{__name__}.{_name}")
    dispatch.register(_module)
    for _public in _module.__all__:
        globals()[_public] = getattr(_module, _public)
        __all__.append(_public)
