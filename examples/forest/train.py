"""Make the data and the weights of the forest example: `python -m examples.forest.train`, a second.

The data is scikit-learn's breast cancer set (Wolberg, Street, Mangasarian: Wisconsin, 1995). Both results, `forest.npz`
with the held-out patients and what scikit-learn's forest says of them, and `forest.safetensors`, are in the project.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

import mpc_runtime as mpc

HERE = Path(__file__).parent
TREES, DEPTH = 100, 6  # what forest.ppml declares
INPUT_BOUND = 8  # the same; no measurement is further from the mean than 12 standard deviations


def main() -> None:
    data = load_breast_cancer()
    malignant = 1 - data.target  # scikit-learn's 1 is benign
    train_x, test_x, train_y, test_y = train_test_split(
        data.data, malignant, test_size=150, stratify=malignant, random_state=0
    )
    mean, deviation = train_x.mean(axis=0), train_x.std(axis=0)
    train_x, test_x = (
        np.clip((x - mean) / deviation, -INPUT_BOUND, INPUT_BOUND).astype(np.float32) for x in (train_x, test_x)
    )

    model = RandomForestClassifier(TREES, max_depth=DEPTH, random_state=0).fit(train_x, train_y)
    print(f"accuracy on the held-out patients: {model.score(test_x, test_y):.4f}")

    weights = mpc.forest_of(model).weights("trees")
    smallest = {
        key: value.astype(np.uint8 if key.endswith("feature") else np.float32) for key, value in weights.items()
    }
    save_file(smallest, str(HERE / "forest.safetensors"))
    judged = model.predict(test_x).astype(bool)
    np.savez_compressed(HERE / "forest.npz", patient=test_x, malignant=test_y.astype(bool), judged=judged)


if __name__ == "__main__":
    main()
