"""Train the seeds' network on drawn photographs: `python -m examples.seeds.train`, half a minute on two cores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from examples.seeds.photos import VARIETIES, draw
from examples.training import AvgPool2, Conv2d, Dense, Flatten, Network, Sigmoid, train

WEIGHT_BOUND = 1  # what seeds.ppml declares


def main() -> None:
    rng = np.random.default_rng(0)
    photos, labels = draw(3000, rng)
    network = Network(
        {
            "conv1": Conv2d(3, 32, kernel=3, padding=1, rng=rng), "sigmoid1": Sigmoid(), "pool1": AvgPool2(),
            "conv2": Conv2d(32, 32, kernel=3, padding=1, rng=rng), "sigmoid2": Sigmoid(), "pool2": AvgPool2(),
            "flatten": Flatten(),
            "fc1": Dense(512, 128, rng), "sigmoid3": Sigmoid(),
            "fc2": Dense(128, len(VARIETIES), rng),
        }
    )  # fmt: skip
    train(network, photos, labels, epochs=40, rng=rng, rate=5e-3, bound=WEIGHT_BOUND)
    print(f"accuracy on 1,000 new photographs: {network.accuracy(*draw(1000, np.random.default_rng(1))):.4f}")
    network.save(Path(__file__).parent / "seeds.safetensors")


if __name__ == "__main__":
    main()
