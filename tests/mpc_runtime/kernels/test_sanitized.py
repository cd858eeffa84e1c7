"""A sanitizer build of the kernels ends the process at the first access beside an array; shown with arrays that lie.

Skipped on any other build; `make sanitize` sets MPC_SANITIZE=1, and then another build is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mpc_runtime import kernels
from mpc_runtime.kernels import Prg

MODULES = {path.name.partition(".")[0]: path for path in sorted(Path(kernels.__file__).parent.glob("*.so"))}
PROMISED = os.environ.get("MPC_SANITIZE", "0") not in ("", "0")
U = np.uint64


def is_sanitized(name: str) -> bool:
    code = MODULES[name].read_bytes()
    return b"__asan_" in code and b"__ubsan_" in code


pytestmark = pytest.mark.skipif(
    not PROMISED and not any(map(is_sanitized, MODULES)), reason="the kernels are not a sanitizer build: make sanitize"
)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_built_with_both_sanitizers(name: str) -> None:
    assert is_sanitized(name)


def lying(n: int) -> np.ndarray:
    """An array that claims one word more than its memory has."""
    return np.lib.stride_tricks.as_strided(np.ones(n - 1, U), (n,), (8,))


# 4096 bytes and more: NumPy keeps small pieces of memory for itself
FAULTS: dict[str, Callable[[], object]] = {
    "_compare": lambda: kernels.word_bit(lying(1024), 3),
    "_elementwise": lambda: kernels.square_eval(np.ones(1024, U), lying(1024), 0),
    "_linear": lambda: kernels.matmul(lying(1024).reshape(32, 32), np.ones((32, 32), U)),
    "_pack": lambda: kernels.pack(lying(1024), 13),
    "_prg": lambda: Prg(bytes(16)).fill(1, lying(1024)),
    "_table": lambda: kernels.table_eval(
        lying(1024), 1, 3, kernels.stencil_weights(2, 3, 1), 32, np.zeros(8192, np.uint8)
    ),
}


def test_a_fault_is_planted_in_every_module() -> None:
    assert FAULTS.keys() == MODULES.keys()


@pytest.mark.parametrize("variant", sorted({kernels.variants()[0], kernels.variants()[-1]}))
@pytest.mark.parametrize("name", MODULES)
def test_a_planted_fault_is_found(name: str, variant: str) -> None:
    done = subprocess.run(
        [sys.executable, __file__, name],
        env={**os.environ, "MPC_KERNELS": variant},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert "ERROR: AddressSanitizer" in done.stderr, done.stderr


if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
