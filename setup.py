"""Builds the kernels' extension modules. All other metadata is in pyproject.toml.

The environment chooses among builds:

    MPC_SANITIZE=1            debug build: AddressSanitizer and UBSan, which end the process at the first fault; -O0
    MPC_EXTENSIONS=_prg,_pack only these modules (a developer's shortcut)

No instruction-set flag is passed to the compiler: every C file states its own target, and the choice among the
variants is made when the module is imported (``mpc_runtime/kernels/src/cpu.h``).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = Path("mpc_runtime/kernels")
SOURCES = KERNELS / "src"

AES = ["aes.c", "aes_sliced.c", "aes_x86.c", "aes_arm.c"]
LINEAR = ["linear.c", *(f"linear_{v}.c" for v in ("portable", "neon", "avx2", "avx512", "ifma", "amx"))]
PACK = ["pack.c", "pack_widths.c", "pack_portable.c", "pack_avx2.c", "pack_avx512.c"]

# Extension module -> its hand-written C files in src/. cpu.c is added to each.
C_SOURCES: dict[str, list[str]] = {
    "_linear": LINEAR,
    "_prg": AES,
    "_pack": PACK,
    "_compare": ["compare_portable.c", "compare_avx2.c", "compare_avx512.c", "compare.c"],
    "_elementwise": ["elementwise_portable.c", "elementwise_avx2.c", "elementwise_avx512.c", "elementwise.c"],
    "_table": ["table_portable.c", "table_avx2.c", "table_avx512.c", "table_vbmi.c", "table.c"],
}

SANITIZERS = ["-fsanitize=address,undefined"]
SANITIZE = os.environ.get("MPC_SANITIZE", "0") not in ("", "0")
ONLY = {name for name in os.environ.get("MPC_EXTENSIONS", "").split(",") if name}


def compile_args() -> list[str]:
    """Flags for every C file, the generated ones included."""
    # -ffp-contract=off: a fused multiply-add, which not every variant has, would round differently
    common = ["-std=gnu11", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wno-unused-function"]
    if SANITIZE:
        # -O0: the optimizer takes ten minutes over 64 unrolled widths of packing with a check at every access
        return [*common, "-O0", "-g1", "-fno-omit-frame-pointer", *SANITIZERS, "-fno-sanitize-recover=undefined"]
    return [*common, "-O3", "-g0"]


def extension(name: str) -> Extension:
    """The extension module `name` with its C sources; a rebuild follows a change of any header."""
    return Extension(
        f"mpc_runtime.kernels.{name}",
        sources=[str(KERNELS / f"{name}.pyx")] + [str(SOURCES / c) for c in ("cpu.c", *C_SOURCES[name])],
        depends=sorted(str(path) for path in SOURCES.glob("*.h")),
        include_dirs=[numpy.get_include(), str(SOURCES)],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=compile_args(),
        extra_link_args=SANITIZERS if SANITIZE else [],
        libraries=[] if sys.platform == "win32" else ["pthread", "m"],
    )


def extensions() -> list[Extension]:
    """One extension for each .pyx file; a .pyx without a line in C_SOURCES, or a line without its .pyx, is an error."""
    found = {path.stem for path in KERNELS.glob("*.pyx")}
    if odd := found ^ C_SOURCES.keys():
        raise SystemExit(
            f"setup.py: {sorted(odd)}: expected a .pyx and a line in C_SOURCES for each, found one of the two"
        )
    if unknown := ONLY - found:
        raise SystemExit(f"setup.py: MPC_EXTENSIONS names {sorted(unknown)}; expected some of {sorted(found)}")
    return [extension(name) for name in sorted(found) if not ONLY or name in ONLY]


setup(
    ext_modules=cythonize(
        extensions(),
        # Cython's own checks stay on: without them a missing axis is read from the memory behind the tuple of a shape.
        # They cost nothing that counts, since all that is done per element is in C.
        compiler_directives={"language_level": "3", "cdivision": True, "embedsignature": True},
    ),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
