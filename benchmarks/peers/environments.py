"""Virtual environments of the peers, outside this tree: `python -m benchmarks.peers.environments` installs them all.

They lie in `~/.cache/mpc-bench-venvs`, or where MPC_BENCH_VENVS says: together about 2 GB, with PyTorch's CPU build
where the package index has one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["python"]

HOME = Path(os.environ.get("MPC_BENCH_VENVS", "~/.cache/mpc-bench-venvs")).expanduser()
INSTALLED = "installed"  # a file that says that the environment is complete

REQUIREMENTS: dict[str, tuple[tuple[str, ...], ...]] = {
    # the latest stable SPU, 0.9.5, is an unoptimized build; this one is 1.4 to 1.9 times faster on networks
    "spu": (("--pre", "spu==0.10.0.dev20251211"),),
    # `pip install crypten` alone fails: it asks for the withdrawn name `sklearn`
    "crypten": (
        (
            "torch==2.13.0",
            *("numpy", "pyyaml", "omegaconf", "onnx", "pandas", "scipy", "scikit-learn", "future", "tensorboard"),
        ),
        ("--no-deps", "crypten==0.4.1"),
    ),
}
"""Peer -> arguments of one `pip install` after the other."""


def python(peer: str) -> Path:
    """The interpreter of a peer's environment, installed first where that is missing. Raises CalledProcessError."""
    home = HOME / peer
    interpreter = home / "bin" / "python"
    if not (home / INSTALLED).exists():
        print(f"installing {peer} into {home}", file=sys.stderr)
        if not interpreter.exists():
            venv.create(home, with_pip=True)
        for packages in REQUIREMENTS[peer]:
            subprocess.run([interpreter, "-m", "pip", "install", "--quiet", *packages], check=True)
        (home / INSTALLED).touch()
    return interpreter


if __name__ == "__main__":
    for peer in sys.argv[1:] or REQUIREMENTS:
        python(peer)
