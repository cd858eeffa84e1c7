"""Weights and inputs for the large networks, drawn and not trained: what is shown is that they are computed rightly.

Each has the size that training starts with, so that activations stay as large as in a trained network.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mpc_runtime as mpc

HERE = Path(__file__).parent


def weights(program: mpc.Program, seed: int = 0) -> dict[str, np.ndarray]:
    """Every parameter of a program, by key."""
    random = np.random.default_rng(seed)
    return {t.name: _drawn(random, t.name, t.shape) for t in program.plan.params}


def _drawn(random: np.random.Generator, key: str, shape: tuple[int, ...]) -> np.ndarray:
    last = key.rpartition(".")[2]
    if last == "running_var" or (last == "weight" and len(shape) == 1):
        return random.uniform(0.8, 1.2, shape)
    if "bias" in last or last == "running_mean":
        return random.uniform(-0.05, 0.05, shape)
    if len(shape) == 2 and key.split(".")[0] in ("word", "wte", "place", "wpe"):
        return np.clip(random.normal(0, 0.3, shape), -1, 1)
    fan_in = int(np.prod(shape[1:]))
    return np.clip(random.normal(0, (1 / fan_in) ** 0.5, shape), -4, 4)


def inputs(program: mpc.Program, seed: int = 1, rows: int | None = None) -> dict[str, np.ndarray]:
    """One batch, or so many rows of each input."""
    random, found = np.random.default_rng(seed), {}
    for t in program.plan.inputs:
        shape = t.shape if rows is None else (rows, *t.shape[1:])
        whole = t.kind == "int"
        found[t.name] = random.integers(int(t.lo), int(t.hi) + 1, shape) if whole else random.normal(0, 1, shape)
        found[t.name] = np.clip(found[t.name], t.lo, t.hi)
    return found
