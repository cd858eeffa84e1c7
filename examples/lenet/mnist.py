"""Find and read MNIST's files, in the IDX format of Yann LeCun's page, packed with gzip or not.

MNIST is not part of the project. `load` looks in the folder that the environment variable MPC_MNIST names, else in
`shared/data/mnist` beside the checkout. Only the 10,000 "t10k" images are used: the first 8,000 train the network, the
last 2,000 are held out.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DEFAULT_FOLDER = Path(__file__).parents[3] / "shared" / "data" / "mnist"
TRAINED_ON = 8000
_UNSIGNED_BYTE = 0x08  # the only IDX element type that MNIST uses


def folder() -> Path:
    """Where MNIST is expected on this machine."""
    return Path(os.environ.get("MPC_MNIST", DEFAULT_FOLDER))


def load(where: Path | None = None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The 10,000 images, `[10000, 1, 28, 28]` in 0 to 1, and their labels, `[10000]`.

    Raises FileNotFoundError, with what to do, where a file is missing, and ValueError where one is not IDX.
    """
    where = folder() if where is None else where
    images = read_idx(where, "t10k-images-idx3-ubyte").reshape(-1, 1, 28, 28)
    return (images / np.float32(255)).astype(np.float32), read_idx(where, "t10k-labels-idx1-ubyte").astype(np.int64)


def read_idx(where: Path, name: str) -> NDArray[np.uint8]:
    """One IDX file of unsigned bytes, `name` or `name.gz` in the folder `where`, in its own shape."""
    for path, opened in ((where / name, open), (where / f"{name}.gz", gzip.open)):
        if path.exists():
            with opened(path, "rb") as file:
                data = file.read()
            break
    else:
        raise FileNotFoundError(
            f"expected {name} or {name}.gz in {where}, found neither. Give the folder that holds MNIST's IDX files as "
            "an argument or in the environment variable MPC_MNIST"
        )
    if data[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise ValueError(f"{path}: expected an IDX file of unsigned bytes, found the first bytes {data[:4].hex()}")
    dims = data[3]
    shape = np.frombuffer(data, ">u4", count=dims, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)
