"""The order in which places of a window or an axis are compared for their maximum, and the way back.

In each round, places of the first half meet those of the second half, the former win where both are equal, and a last
one without an opponent goes on to the next round. The expansion plays in the same order (`compiler.expand.choice`), so
that plaintext and private gradients agree on which of several equals gets all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.graph import Array


def back_through(places: Sequence[Array], gradient: Array) -> list[Array]:
    """For each place the gradient where it is the largest of its element, and zeros elsewhere."""
    rounds = []
    while len(places) > 1:
        half = len(places) // 2
        firsts, seconds = places[:half], places[half : 2 * half]
        rounds.append([a >= b for a, b in zip(firsts, seconds, strict=True)])
        places = [*map(np.maximum, firsts, seconds), *places[2 * half :]]
    gradients = [gradient]
    for wins in reversed(rounds):
        met, rest = gradients[: len(wins)], gradients[len(wins) :]
        firsts = [np.where(win, each, 0) for win, each in zip(wins, met, strict=True)]
        seconds = [np.where(win, 0, each) for win, each in zip(wins, met, strict=True)]
        gradients = [*firsts, *seconds, *rest]
    return gradients
