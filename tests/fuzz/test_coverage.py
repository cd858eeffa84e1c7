"""The random programs call every function, operator and layer of the registries, but for those that say why not."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import strategies as st

from compiler.ops import FUNCTIONS, LAYERS, OPERATORS
from tests.fuzz.boxes import Format
from tests.fuzz.building import Builder
from tests.fuzz.calls import CALLS

T = TypeVar("T")
TRIES = 60
LEFT_OUT = {
    "attention": "a composition of functions that are generated; tests/compiler/ops/test_sequences.py has its meaning",
    "lstm": "a composition of functions that are generated; tests/compiler/ops/test_sequences.py has its meaning",
    "gru": "a composition of functions that are generated; tests/compiler/ops/test_sequences.py has its meaning",
    "forest": "a comparison within an error's reach takes another leaf; tests/compiler/expand/test_trees.py is exact",
}


@dataclass
class Seeded(Builder):
    """A builder that chooses by a seed: a call is tried often, and quickly."""

    chosen: random.Random = field(default_factory=random.Random)

    def pick(self, choices: Sequence[T]) -> T:
        return self.chosen.choice(choices)

    def whole(self, lo: int, hi: int) -> int:
        return self.chosen.randint(lo, hi)


def words(seed: int) -> str:
    """What each call writes, beside values of every kind and rank."""
    found = []
    for call in CALLS:
        b = Seeded(lambda strategy: strategy, Format(), (2, 3, 4), chosen=random.Random(seed))
        shapes = [(1, 2, 4, 4), (2, 3, 4), (3, 3), (3, 1), (4,)]
        b.chosen.shuffle(shapes)
        for kind in b.chosen.sample(["int", "bit", "fixed", "fixed"], 4):
            b.input(kind, shapes[b.whole(0, 4)], (0.5, 8) if kind == "fixed" else (0, 3))
        value = call(b)
        found += [*b.lines, value.text if value is not None else ""]
    return "\n".join(found)


def called(text: str) -> set[str]:
    """The names and signs that a text has."""
    signs = {"neg" for _ in re.finditer(r"-[vx(]", text)} | {"not" for _ in re.finditer("not ", text)}
    names = re.findall(r"[a-z_0-9]+(?=\()|(?<=\|> )[a-z_0-9]+", text)
    return signs | set(names) | set(re.findall(r" ([-+*/@<>=!]+|and|or) ", text))


def test_every_function_operator_and_layer_is_generated_or_says_why_not() -> None:
    left = FUNCTIONS.keys() | LAYERS.keys() | OPERATORS.keys()
    for seed in range(TRIES):
        left = left - called(words(seed))
        if left == LEFT_OUT.keys():
            return
    raise AssertionError(
        f"never generated: {sorted(left - LEFT_OUT.keys())}; not as said: {sorted(LEFT_OUT.keys() - left)}"
    )


def test_a_seeded_builder_draws_nothing_else() -> None:
    b = Seeded(lambda strategy: strategy, Format(), (2, 3, 4), chosen=random.Random(1))
    assert b.whole(3, 3) == 3 and b.pick("a") == "a" and not isinstance(b.whole(0, 9), st.SearchStrategy)
