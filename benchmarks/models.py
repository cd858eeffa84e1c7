"""Whole models, in real processes: `python -m benchmarks.models [NAME ...]`.

LeNet by batch, the seeds' network of the examples, logistic regression, softmax, max-pooling, a forest, and large
networks of the examples with ranges by `calibrate`.
`measure.py` says what the columns are.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import mpc_runtime as mpc
from benchmarks.measure import arguments, measure_all
from benchmarks.workloads import MODELS, Workload, make
from examples.networks import draw

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SEEDS = {"seeds_b1": 1, "seeds_b32": 32}
NETWORKS = {
    "resnet18_b1": ("resnet18", 1, "logits"),
    "resnet18_b8": ("resnet18", 8, "logits"),
    "encoder_b1": ("encoder", 1, "scores"),
}


def of_batch(source: str, batch: int) -> str:
    """A model whose text says a batch of 1, for another one."""
    changed, count = re.subn(r"(?m)^(dim +batch *= )1\b", rf"\g<1>{batch}", source)
    assert count == 1, "expected a line `dim batch = 1`"
    return changed


def seeds(name: str, batch: int) -> Workload:
    """The breeder's trained network on noise: what it costs does not depend on the photograph."""
    source = (EXAMPLES / "seeds" / "seeds.ppml").read_text(encoding="utf-8")
    photo = np.random.default_rng(batch).uniform(0, 1, (batch, 3, 16, 16))
    return Workload(
        name,
        f"the seeds' network of the examples, batch {batch}",
        of_batch(source, batch),
        {"photo": photo},
        "variety",
        None,
        load_file(EXAMPLES / "seeds" / "seeds.safetensors"),
        elements=batch,
    )


def network(name: str, file: str, batch: int, result: str) -> Workload:
    """A large network with drawn weights, and the ranges that samples of eight rows show."""
    path = EXAMPLES / "networks" / f"{file}.ppml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mpc.CompileWarning)  # without ranges, which calibrate then writes
        program = mpc.compile(path, dims={"batch": batch})
        params = draw.weights(program)
        calibrated = mpc.calibrate(program, params=params, inputs=draw.inputs(program, seed=2, rows=8))
    return Workload(
        name,
        f"{file} of the examples, batch {batch}, calibrated",
        of_batch(calibrated.plan.source, batch),
        draw.inputs(program),
        result,
        None,
        params,
        elements=batch,
    )


def workload(name: str) -> Workload:
    if name in NETWORKS:
        return network(name, *NETWORKS[name])
    return seeds(name, SEEDS[name]) if name in SEEDS else make(name)


if __name__ == "__main__":
    given = arguments(__doc__, (*MODELS, *SEEDS, *NETWORKS))
    measure_all("models", map(workload, given.names), given.runs, given.out)
