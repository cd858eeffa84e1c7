"""Train a network with differential privacy: `python -m examples.dp_training.demo [EPOCHS [PATIENTS]]`.

The dealer and both parties run as processes on this machine, and this script plays both roles, with patients that it
makes up. Beside the private training, the same model is trained on plaintext in float64, with clipped gradients but
without noise. It needs dp-accounting: `pip install "mpc-runtime[dp]"`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import mpc_runtime as mpc

HERE = Path(__file__).parent
SEED, FRESH = 4, 2000


def patients(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Ill are those with a high sum of some measurements, and those in whom two of them are far apart."""
    measured = rng.normal(0, 1, (count, 12)).clip(-4, 4)
    risk = measured[:, :4].sum(axis=1) + 1.5 * np.abs(measured[:, 4] - measured[:, 5]) - 2
    return {"measured": measured, "ill": (risk + rng.normal(0, 0.5, count) > 0).astype(float)[:, None]}


def accuracy(weights: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> float:
    """Of a network whose weights are known, as those that training has released are."""
    hidden = np.maximum(rows["measured"] @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    logit = hidden @ weights["score.weight"].T + weights["score.bias"]
    return float(((logit > 0) == rows["ill"]).mean())


def main(epochs: int = 3, count: int = 4000) -> None:
    rng = np.random.default_rng(SEED)
    known, fresh = patients(count, rng), patients(FRESH, rng)

    program = mpc.compile(HERE / "patients.ppml")
    start = program.initial_weights(SEED)
    with mpc.launch(program) as session:
        session.provide(start)
        history = session.fit(known, epochs=epochs, on_epoch=print)
        weights = session.finish()
    plain = program.reference_fit(known, start, epochs=epochs, seed=SEED)

    print(f"{count} patients, {history.steps} steps: {history.epsilon}")
    print(f"accuracy on {FRESH} other patients          {accuracy(weights, fresh):.2%}")
    print(f"the same, without noise, in float64      {accuracy(plain.weights, fresh):.2%}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
