"""Train a logistic regression on two owners' columns: `python -m examples.learning.columns [EPOCHS]`.

The dealer and both parties run as processes on this machine, and this script plays all three roles. Beside the private
training, the same steps are made on plaintext in float64.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import mpc_runtime as mpc

HERE = Path(__file__).parent
TRAINED_ON = 128
SEED = 5


def main(epochs: int = 10) -> None:
    patients = np.load(HERE.parent / "cancer" / "cancer.npz")
    measured = {"size": patients["size"], "texture": patients["texture"]}
    ended = patients["malignant"].astype(float)[:, None]
    known = {**{name: rows[:TRAINED_ON] for name, rows in measured.items()}, "ended": ended[:TRAINED_ON]}
    fresh = {name: rows[TRAINED_ON:] for name, rows in measured.items()}

    program = mpc.compile(HERE / "columns.ppml")
    start = program.initial_weights(SEED)
    with mpc.launch(program) as session:
        session.provide(start)
        history = session.fit(known, epochs=epochs, seed=SEED, on_epoch=print)
        private = session.run_batches(fresh)["malignant"]  # with weights that nobody has seen
        stats = session.stats
        weights = session.finish()
    plain = program.reference_fit(known, start, epochs=epochs, seed=SEED)

    right = ((private > 0.5) == ended[TRAINED_ON:]).mean()
    losses = abs(history.outputs["loss"] / plain.losses - 1).max()
    weight = max(abs(weights[key] - plain.weights[key]).max() for key in weights)
    print(f"accuracy on {len(private)} patients that were not trained on  {right:.2%}")
    print(f"largest difference of a loss from plaintext    {losses:.5f} of it")
    print(f"largest difference of a weight from plaintext  {weight:.6f}")
    print(f"a step of training takes {program.cost.train_rounds} rounds; this is the last prediction:")
    print(stats)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
