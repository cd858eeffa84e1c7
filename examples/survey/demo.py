"""A mean and a histogram of patients, with noise, until their budget is spent: `python -m examples.survey.demo`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import mpc_runtime as mpc

HERE = Path(__file__).parent


def patients(count: int) -> dict[str, np.ndarray]:
    """Made-up patients of the clinic, and the registry's weights."""
    random = np.random.default_rng(2026)
    age = np.clip(random.normal(55, 18, count), 0, 100).round()
    group = random.choice(5, count, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    return {"age": age, "group": group, "weight": random.uniform(0.5, 1, count)}


def main(data_dir: str | Path) -> None:
    """data_dir: where the parties keep their ledgers: with the same folder, the next demo is refused at once."""
    program = mpc.compile(HERE / "survey.ppml")
    data = patients(1000)
    exact = program.reference(data)
    print(f"exact      average {exact['average']:6.2f}   counts {exact['counts']}")
    with mpc.launch(program, data_dir=data_dir) as session:
        try:
            while True:
                told = session.run(data, dataset="patients 2026")
                print(f"released   average {told['average']:6.2f}   counts {told['counts']}")
        except mpc.BudgetError as refused:
            print(f"refused: {refused}")
        print(session.privacy)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
