"""Train LeNet on MNIST in NumPy: `python -m examples.lenet.train [FOLDER]`, half a minute on two cores.

FOLDER holds MNIST's IDX files; `mnist.py` says where they are looked for without it. The result, `lenet.safetensors`,
is in the project.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from examples.lenet import mnist
from examples.training import Conv2d, Dense, Flatten, MaxPool2, Network, Relu, train

WEIGHT_BOUND = 0.5  # what lenet.ppml declares


def main() -> None:
    images, labels = mnist.load(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    n = mnist.TRAINED_ON
    rng = np.random.default_rng(0)
    network = Network(
        {
            "conv1": Conv2d(1, 16, kernel=5, padding=0, rng=rng), "relu1": Relu(), "pool1": MaxPool2(),
            "conv2": Conv2d(16, 16, kernel=5, padding=0, rng=rng), "relu2": Relu(), "pool2": MaxPool2(),
            "flatten": Flatten(),
            "fc1": Dense(256, 100, rng), "relu3": Relu(),
            "fc2": Dense(100, 10, rng),
        }
    )  # fmt: skip
    train(network, images[:n], labels[:n], epochs=8, rng=rng, bound=WEIGHT_BOUND)
    print(f"accuracy on the held-out images: {network.accuracy(images[n:], labels[n:]):.4f}")
    network.save(Path(__file__).parent / "lenet.safetensors")


if __name__ == "__main__":
    main()
