"""A model small enough to deal a thousand times, and what a test knows about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mpc_runtime as mpc
from mpc_runtime.store.deal import deal

MODEL = """model stored
role client, modeller
input x : [4] from client in [-8, 8]
param w : [4, 4] from modeller in [-2, 2]
output y = relu(x @ w) to client
"""
PROGRAM = mpc.compile(text=MODEL)
OTHER = mpc.compile(text=MODEL.replace("[-8, 8]", "[-7, 7]"))
PLAN = PROGRAM.plan
PARTIES = ("p0", "p1")


def dealt(folder: Path, runs: int = 5, setups: int = 1) -> Path:
    """Two stores in a folder that pytest has made."""
    deal(PLAN, folder / "material", runs, setups)
    return folder / "material"


def expected(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.maximum(x @ w, 0)
