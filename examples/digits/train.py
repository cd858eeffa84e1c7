"""Make the data and the weights of the digits example: `python -m examples.digits.train`, about ten seconds.

Both results, `digits.npz` and `digits.safetensors`, are in the project, so the demo needs neither this script nor
scikit-learn. 1,437 of scikit-learn's 1,797 digits train the network; 360, the same number of each class as the whole
has in proportion, are held out and are the only ones that the demo classifies.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from examples.training import Conv2d, Dense, Flatten, MaxPool2, Network, Relu, train

HERE = Path(__file__).parent
LEVELS = 16  # scikit-learn's pixels are whole numbers 0 to 16
WEIGHT_BOUND = 0.5  # what digits.ppml declares


def main() -> None:
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.images[:, None].astype(np.uint8), digits.target, test_size=360, stratify=digits.target, random_state=0
    )
    np.savez_compressed(HERE / "digits.npz", image=test_x, label=test_y.astype(np.uint8), levels=LEVELS)

    rng = np.random.default_rng(0)
    network = Network(
        {
            "conv1": Conv2d(1, 16, kernel=3, padding=1, rng=rng), "relu1": Relu(), "pool1": MaxPool2(),
            "conv2": Conv2d(16, 32, kernel=3, padding=1, rng=rng), "relu2": Relu(), "pool2": MaxPool2(),
            "flatten": Flatten(),
            "fc1": Dense(128, 64, rng), "relu3": Relu(),
            "fc2": Dense(64, 10, rng),
        }
    )  # fmt: skip
    train(network, (train_x / LEVELS).astype(np.float32), train_y, epochs=30, rng=rng, bound=WEIGHT_BOUND)
    print(f"accuracy on the held-out digits: {network.accuracy((test_x / LEVELS).astype(np.float32), test_y):.4f}")
    network.save(HERE / "digits.safetensors")


if __name__ == "__main__":
    main()
