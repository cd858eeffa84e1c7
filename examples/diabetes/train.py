"""Make the data and the weights of the diabetes example: `python -m examples.diabetes.train`, a second.

The data is scikit-learn's diabetes set (Efron, Hastie, Johnstone, Tibshirani: Least Angle Regression, 2004). Both
results, `diabetes.npz` with the held-out patients and `diabetes.safetensors`, are in the project.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
INPUT_BOUND = 5  # what diabetes.ppml declares


def main() -> None:
    data = load_diabetes(scaled=False)
    train_x, test_x, train_y, test_y = train_test_split(data.data, data.target, test_size=100, random_state=0)
    mean, deviation = train_x.mean(axis=0), train_x.std(axis=0)
    train_x, test_x = (np.clip((x - mean) / deviation, -INPUT_BOUND, INPUT_BOUND) for x in (train_x, test_x))

    model = Ridge(alpha=10.0).fit(train_x, train_y)
    print(f"R² on the held-out patients: {model.score(test_x, test_y):.3f}")
    print(f"weights within [{model.coef_.min():.1f}, {model.coef_.max():.1f}], bias {model.intercept_:.1f}")

    np.savez_compressed(HERE / "diabetes.npz", x=test_x.astype(np.float32), progression=test_y.astype(np.float32))
    weights = {"w": model.coef_.reshape(-1, 1), "b": np.reshape(model.intercept_, 1)}
    save_file({key: value.astype(np.float32) for key, value in weights.items()}, str(HERE / "diabetes.safetensors"))


if __name__ == "__main__":
    main()
