"""Three hospitals train one model: `python -m examples.learning.hospitals [EPOCHS]`.

The dealer and both parties run as processes on this machine, and this script plays all roles. Trainings on
the rows of one hospital alone, in plaintext, show what the others' are good for.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import mpc_runtime as mpc

HERE = Path(__file__).parent
HOSPITALS, ROWS = 3, 32
SEED = 2


def main(epochs: int = 6) -> None:
    patients = np.load(HERE.parent / "cancer" / "cancer.npz")
    measured = np.concatenate([patients["size"], patients["texture"]], axis=1)
    ended = patients["malignant"].astype(float)[:, None]
    count = HOSPITALS * ROWS
    known = {
        "measured": measured[:count].reshape(HOSPITALS, ROWS, -1),
        "ended": ended[:count].reshape(HOSPITALS, ROWS, 1),
    }
    fresh, truth = measured[count:], ended[count:]

    program = mpc.compile(HERE / "hospitals.ppml")
    start = program.initial_weights(SEED)
    with mpc.launch(program) as session:
        session.provide(start)
        session.fit(known, epochs=epochs, seed=SEED, on_epoch=print)
        private = session.run_batches(patient=fresh)["malignant"]  # with weights that nobody has seen
        weights = session.finish()
    plain = program.reference_fit(known, start, epochs=epochs, seed=SEED)
    expected = predicted(fresh, plain.weights)

    print(f"accuracy on {len(fresh)} patients of a fourth hospital  {right(private, truth):.2%}")
    print(f"of the same training on plaintext           {right(expected, truth):.2%}")
    for alone in range(HOSPITALS):
        own = {name: np.stack([rows[alone]] * HOSPITALS) for name, rows in known.items()}
        fitted = program.reference_fit(own, start, epochs=epochs, seed=SEED)
        accuracy = right(predicted(fresh, fitted.weights), truth)
        print(f"of a plaintext training on hospital {alone} alone   {accuracy:.2%}")
    weight = max(abs(weights[key] - plain.weights[key]).max() for key in weights)
    print(f"largest difference of a weight from plaintext  {weight:.6f}")
    print(f"a step of training takes {program.cost.train_rounds} rounds")


def predicted(patient: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The probabilities of the plaintext model, `[rows, 1]`."""
    return 1 / (1 + np.exp(-(patient @ weights["score.weight"].T + weights["score.bias"])))


def right(probability: np.ndarray, truth: np.ndarray) -> float:
    return float(((probability > 0.5) == truth).mean())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
