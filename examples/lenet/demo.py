"""Classify MNIST privately with LeNet: `python -m examples.lenet.demo [IMAGES]`, 64 images if no number is given.

The dealer and both compute parties run as processes on this machine; the images are from the 2,000 that the training
did not see.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import mpc_runtime as mpc
from examples.lenet import mnist

HERE = Path(__file__).parent
WEIGHTS = HERE / "lenet.safetensors"
CLOSE_CALL = 0.01  # plaintext margins below this may fall either way: a prediction is right to about 0.001


def main(count: int = 64) -> None:
    try:
        images, labels = mnist.load()
    except FileNotFoundError as missing:
        raise SystemExit(str(missing)) from None
    images, labels = images[mnist.TRAINED_ON :][:count], labels[mnist.TRAINED_ON :][:count]

    program = mpc.compile(HERE / "lenet.ppml", dims={"batch": len(images)})
    with mpc.launch(program) as session:
        session.provide(WEIGHTS)
        private = session.run(image=images)["probabilities"]
        stats = session.stats
    plain = program.reference(inputs={"image": images}, params=WEIGHTS)["probabilities"]

    best = np.sort(plain, axis=1)
    clear = best[:, -1] - best[:, -2] > CLOSE_CALL
    same = private.argmax(axis=1) == plain.argmax(axis=1)
    print(f"{len(images)} images of MNIST that the training did not see")
    print(f"accuracy, private    {(private.argmax(axis=1) == labels).mean():8.2%}")
    print(f"accuracy, plaintext  {(plain.argmax(axis=1) == labels).mean():8.2%}")
    print(f"same prediction      {same[clear].sum()} of {clear.sum()} where the plaintext margin exceeds {CLOSE_CALL}")
    print(f"largest difference   {abs(private - plain).max():.6f} in a probability")
    print(stats)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
