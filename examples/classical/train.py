"""Make the data and the parameters of the classical models: `python -m examples.classical.train`, a second.

The data is scikit-learn's wine set (Forina et al.: PARVUS, 1991). The result, `classical.npz`, is in the project: the
held-out wines with their kinds, what scikit-learn says of them, and each model's parameters under `MODEL/KEY`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

HERE = Path(__file__).parent
HELD_OUT = 60


def main() -> None:
    data = load_wine()
    known, wine, kinds, truth = train_test_split(
        data.data, data.target, test_size=HELD_OUT, stratify=data.target, random_state=0
    )
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    known, wine = ((x - mean) / deviation for x in (known, wine))

    kmeans = KMeans(3, n_init=10, random_state=0).fit(known)
    neighbours = KNeighborsClassifier(5).fit(known, kinds)
    pca = PCA(2).fit(known)
    svm = LinearSVC(random_state=0).fit(known, kinds)
    bayes = GaussianNB().fit(known, kinds)
    factor = np.log(bayes.class_prior_) - 0.5 * np.log(2 * np.pi * bayes.var_).sum(axis=1)
    params = {
        "kmeans": {"centres": kmeans.cluster_centers_},
        "neighbours": {"known": known, "kinds": kinds},
        "pca": {"mean": pca.mean_, "components": pca.components_},
        "svm": {"planes.weight": svm.coef_, "planes.bias": svm.intercept_},
        "bayes": {"mean": bayes.theta_, "inverse": 1 / bayes.var_, "prior": factor},
    }
    said = {
        "kmeans": kmeans.predict(wine),
        "neighbours": neighbours.predict(wine),
        "pca": pca.transform(wine),
        "svm": svm.predict(wine),
        "bayes": bayes.predict(wine),
    }
    arrays = {f"{model}/{key}": np.asarray(value) for model, own in params.items() for key, value in own.items()}
    arrays |= {f"{model}/said": value for model, value in said.items()}
    np.savez_compressed(HERE / "classical.npz", wine=wine, truth=truth, **arrays)


if __name__ == "__main__":
    main()
