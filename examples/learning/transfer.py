"""Train a private classifier on public features: `python -m examples.learning.transfer [EPOCHS]`.

The features are the convolutions of `examples/digits`, which have learnt to tell ten digits apart. The classifier
behind them learns another task, whether a digit is odd, from 256 images and labels that nobody sees.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import mpc_runtime as mpc

HERE = Path(__file__).parent
TRAINED_ON = 256
SEED = 4


def main(epochs: int = 5) -> None:
    digits = np.load(HERE.parent / "digits" / "digits.npz")
    image, odd = digits["image"] / digits["levels"], digits["label"].astype(np.int64) % 2
    known = {"image": image[:TRAINED_ON], "label": odd[:TRAINED_ON]}
    fresh, truth = image[TRAINED_ON:], odd[TRAINED_ON:]
    trained = load_file(HERE.parent / "digits" / "digits.safetensors")
    published = {key: value for key, value in trained.items() if key.startswith("conv")}

    program = mpc.compile(HERE / "transfer.ppml")
    start = {**program.initial_weights(SEED), **published}
    with mpc.launch(program) as session:
        session.provide(start)
        history = session.fit(known, epochs=epochs, seed=SEED, on_epoch=print)
        private = session.run_batches(image=fresh)["odd"]  # with a classifier that nobody has seen
        weights = session.finish()
    plain = program.reference_fit(known, start, epochs=epochs, seed=SEED)

    print(f"accuracy on {len(fresh)} images that were not trained on  {((private > 0.5) == (truth == 1)).mean():.2%}")
    losses = abs(history.outputs["loss"] / plain.losses - 1).max()
    print(f"largest difference of a loss from plaintext    {losses:.5f} of it")
    weight = max(abs(weights[key] - plain.weights[key]).max() for key in weights)
    print(f"largest difference of a weight from plaintext  {weight:.6f}")
    print(f"a step of training takes {program.cost.train_rounds} rounds; only {', '.join(weights)} changed")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
