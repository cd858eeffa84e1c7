"""Whole models, in real processes: `python -m benchmarks.models [NAME ...]`.

LeNet by batch, the seeds' network of the examples, logistic regression, softmax, max-pooling and a forest.
`measure.py` says what the columns are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from benchmarks.measure import arguments, measure_all
from benchmarks.workloads import MODELS, Workload, make

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SEEDS = {"seeds_b1": 1, "seeds_b32": 32}


def seeds(name: str, batch: int) -> Workload:
    """The breeder's trained network on noise: what it costs does not depend on the photograph."""
    source = (EXAMPLES / "seeds" / "seeds.ppml").read_text(encoding="utf-8")
    photo = np.random.default_rng(batch).uniform(0, 1, (batch, 3, 16, 16))
    return Workload(
        name,
        f"the seeds' network of the examples, batch {batch}",
        source.replace("dim  batch = 1", f"dim  batch = {batch}"),
        {"photo": photo},
        "variety",
        None,
        load_file(EXAMPLES / "seeds" / "seeds.safetensors"),
        elements=batch,
    )


def workload(name: str) -> Workload:
    return seeds(name, SEEDS[name]) if name in SEEDS else make(name)


if __name__ == "__main__":
    given = arguments(__doc__, (*MODELS, *SEEDS))
    measure_all("models", map(workload, given.names), given.runs, given.out)
