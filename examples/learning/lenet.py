"""Train LeNet privately on MNIST's files: `python -m examples.learning.lenet [IMAGES [BATCH]]`, 2,560 images of the
first 8,000 if no number is given, in batches of 128.

`examples/lenet/mnist.py` says where the files are looked for; Fashion-MNIST has files of the same form, which Debian's
package `dataset-fashion-mnist` installs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import mpc_runtime as mpc
from examples.lenet import mnist

HERE = Path(__file__).parent
SEED = 3


def main(count: int = 2560, batch: int = 128) -> None:
    try:
        images, labels = mnist.load()
    except FileNotFoundError as missing:
        raise SystemExit(str(missing)) from None
    known = {"image": images[:count].astype(float), "label": labels[:count]}
    fresh = images[-4 * batch :].astype(float)

    program = mpc.compile(HERE / "lenet.ppml", dims={"batch": batch})
    start = program.initial_weights(SEED)
    with mpc.launch(program) as session:
        session.provide(start)
        history = session.fit(known, seed=SEED, on_epoch=print)
        private = session.run_batches(image=fresh)["probabilities"]
    plain = program.reference_fit(known, start, seed=SEED)

    right = (private.argmax(axis=1) == labels[-4 * batch :]).mean()
    print(f"accuracy on {len(fresh)} images that were not trained on  {right:.2%}")
    print(f"largest difference of a loss  {np.abs(history.outputs['loss'] / plain.losses - 1).max():.5f} of it")
    print(f"a step takes {program.cost.train_rounds} rounds")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
