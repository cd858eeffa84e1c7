"""The facade for models that were trained elsewhere: what the layers of the language take of them.

As in `program.py`, the compiler is imported when a function is called, so that parties and dealer run without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compiler.importers.trees import Forest

__all__ = ["forest_of"]


def forest_of(estimator: Any) -> Forest:
    """The parameters of the layer `forest` for a tree, a forest or gradient boosting of scikit-learn.

    The result's `feature`, `threshold` and `leaf` are the arrays, `weights(name)` has them under the keys of the layer
    of that name, and `layer` is the layer as `.ppml` text. The layer's outputs are what a regressor predicts, the
    probabilities of the classes of a tree or a forest, or the `decision_function` of gradient boosting.

    Args:
        estimator: Fitted; no tree is deeper than 12 levels.

    Raises:
        InputError: It is another estimator, or not fitted, or a tree is too deep.
    """
    from compiler.importers.trees import from_sklearn

    return from_sklearn(estimator)
