"""Judge wines by a classical model that stays secret: `python -m examples.classical.demo [MODEL]`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import mpc_runtime as mpc

HERE = Path(__file__).parent
MODELS = ("kmeans", "neighbours", "pca", "svm", "bayes")


def parameters(model: str) -> dict[str, np.ndarray]:
    """The lab's, by key."""
    data = np.load(HERE / "classical.npz")
    return {key.partition("/")[2]: data[key] for key in data.files if key.startswith(f"{model}/") and "said" not in key}


def main(model: str = "kmeans") -> None:
    if model not in MODELS:
        sys.exit(f"expected one of {', '.join(MODELS)}, found {model}")
    data, params = np.load(HERE / "classical.npz"), parameters(model)
    wine, said = data["wine"], data[f"{model}/said"]

    program = mpc.compile(HERE / f"{model}.ppml", dims={"batch": len(wine)})
    with mpc.launch(program) as session:
        session.provide(params)
        (private,) = session.run(wine=wine).values()
        stats = session.stats
    (plain,) = program.reference(inputs={"wine": wine}, params=params).values()

    print("private, plaintext and scikit-learn's, of the first wines:")
    for row in zip(private[:5], plain[:5], said[:5], strict=True):
        print("  ", *row)
    if private.dtype.kind == "i":
        print(f"the same as plaintext      {(private == plain).mean():8.2%} of {len(wine)}")
        print(f"the same as scikit-learn's {(private == said).mean():8.2%}")
    else:
        print(f"largest difference from plaintext {np.abs(private - plain).max():.1e}")
    print(stats)


if __name__ == "__main__":
    main(*sys.argv[1:])
