"""Make the data and the weights of the cancer example: `python -m examples.cancer.train`, a second.

The data is scikit-learn's breast cancer set (Wolberg, Street, Mangasarian: Wisconsin, 1995). Both results, `cancer.npz`
with the held-out patients and `cancer.safetensors`, are in the project.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
COLUMNS_OF_THE_CLINIC = 10  # the mean size and shape of the nuclei; the laboratory has their spread and extremes
INPUT_BOUND = 5  # what cancer.ppml declares; the few measurements beyond are moved to it


def main() -> None:
    data = load_breast_cancer()
    malignant = 1 - data.target  # scikit-learn's 1 is benign
    train_x, test_x, train_y, test_y = train_test_split(
        data.data, malignant, test_size=150, stratify=malignant, random_state=0
    )
    mean, deviation = train_x.mean(axis=0), train_x.std(axis=0)
    train_x, test_x = (np.clip((x - mean) / deviation, -INPUT_BOUND, INPUT_BOUND) for x in (train_x, test_x))

    model = LogisticRegression(C=0.5, max_iter=1000).fit(train_x, train_y)
    print(f"accuracy on the held-out patients: {model.score(test_x, test_y):.4f}")
    print(f"weights within [{model.coef_.min():.2f}, {model.coef_.max():.2f}], bias {model.intercept_[0]:.2f}")

    clinic, laboratory = np.split(test_x.astype(np.float32), [COLUMNS_OF_THE_CLINIC], axis=1)
    np.savez_compressed(HERE / "cancer.npz", size=clinic, texture=laboratory, malignant=test_y.astype(bool))
    weights = {"score.weight": model.coef_, "score.bias": model.intercept_}
    save_file({key: value.astype(np.float32) for key, value in weights.items()}, str(HERE / "cancer.safetensors"))


if __name__ == "__main__":
    main()
