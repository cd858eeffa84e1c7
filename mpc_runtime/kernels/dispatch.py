"""The instruction-set variant that the kernels run: which there are, which one is in use, and a way to force one.

Every extension module decides for itself at import, all by the same rule (``src/cpu.c``): the variant named by the
environment variable ``MPC_KERNELS``, else the best one that the machine has. This module asks and sets them alike.
"""

from __future__ import annotations

from types import ModuleType

LEVELS = ("portable", "neon", "avx2", "avx512", "amx")
"""Names of the levels; the index is the number used in ``src/cpu.h``."""

_modules: list[ModuleType] = []


def register(*modules: ModuleType) -> None:
    """Add extension modules to those that `set_variant` sets; refuses to go on with a variant the machine lacks."""
    for module in modules:
        if module._level() < 0:
            raise ImportError(
                f"MPC_KERNELS names a kernel variant that is unknown or that this machine lacks; "
                f"expected one of {', '.join(variants(module))}: correct or unset it"
            )
        _modules.append(module)


def variants(module: ModuleType | None = None) -> list[str]:
    """Names of the variants that this machine can run, slowest first."""
    ask = module or _modules[0]
    return [name for level, name in enumerate(LEVELS) if ask._level_available(level)]


def variant() -> str:
    """Name of the variant in use."""
    return LEVELS[_modules[0]._level()]


def set_variant(name: str) -> None:
    """Use another variant from now on, in every kernel (for tests and benchmarks; not while kernels run).

    Raises ValueError if the name is unknown or the machine cannot run it.
    """
    if name not in variants():
        raise ValueError(f"kernel variant {name!r} is not available here; expected one of {', '.join(variants())}")
    for module in _modules:
        module._set_level(LEVELS.index(name))
