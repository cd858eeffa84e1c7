"""Models of the zoo as plans with encoded data, for tests that look inside a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from mpc_runtime import Program, compile
from mpc_runtime.registers import Domain
from tests.machines import encoded
from tests.zoo import HEAD, data, sources

Array = np.ndarray
EXAMPLES = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True)
class Model:
    """A compiled model and its feeds: stage -> feed -> ring elements."""

    name: str
    program: Program
    feeds: Mapping[str, Mapping[str, Array]]


@cache
def model(name: str, text: str, seed: int = 0) -> Model:
    program = compile(text=text)
    inputs, params = data(program.plan, seed)
    return Model(name, program, feeds_of(program, inputs, params))


def feeds_of(program: Program, inputs: Mapping[str, Array], params: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    plan = program.plan
    domains = {feed.name: feed.domain for feed in plan.feeds}
    return {
        stage: {
            name: words if domains[name] is Domain.WORDS else words.astype(np.uint8)
            for feeds in encoded(plan, stage, inputs, params).values()
            for name, words in feeds.items()
        }
        for stage in ("setup", "run")
    }


NOISE = " with laplace(", " with gaussian("
LARGE = "networks"
"""The examples whose ranges hold for their own data, and which take long: `tests/examples` has them."""


def all_models() -> list[tuple[str, str]]:
    """(name, text) of the zoo, small networks and the examples; an expression of two kinds has two names. What they
    compute is decided by their inputs and the keys, in a setup and runs; `trained.py` has those that train."""
    return [(name, text) for name, text in _named() if not any(each in text for each in (*NOISE, "\ntrain {"))]


def noisy_models() -> list[tuple[str, str]]:
    """The others, whose results have noise that nobody can foretell."""
    return [(name, text) for name, text in _named() if any(noise in text for noise in NOISE)]


def _named() -> list[tuple[str, str]]:
    named: dict[str, str] = {}
    examples = [
        (
            f"examples/{path.stem if path.stem == path.parent.name else path.relative_to(EXAMPLES).with_suffix('')}",
            path.read_text(encoding="utf-8"),
        )
        for path in sorted(EXAMPLES.glob("*/*.ppml"))
        if path.parent.name != LARGE
    ]
    for name, text in (*sources(), *NETWORKS.items(), *examples):
        kind = text.splitlines()[2].partition(" : ")[2].partition(" from")[0]
        named[name if name not in named else f"{name} of {kind}"] = text
    return list(named.items())


NETWORKS = {
    "small lenet": """
model small_lenet
role client, modeller
input image : [3, 1, 10, 10] from client in [0, 1]
layer conv1 = conv2d(3, 3)
layer conv2 = conv2d(4, 3, padding="same", bias=false)
layer norm  = batchnorm()
layer fc    = dense(5)
weights from modeller in [-0.5, 0.5]
h = image |> conv1 |> relu |> maxpool2d(2) |> conv2 |> norm |> relu |> avgpool2d(2) |> flatten |> fc
output scores = softmax(h) to client
output label  = argmax(h, axis=1) to client, modeller
""",
    "classifier of two owners": """
model joined
role bank, bureau, modeller
input a : [6, 9] from bank   in [-4, 4]
input b : [6, 4] from bureau in [-4, 4]
layer hidden = dense(8)
layer out    = dense(1)
weights from modeller in [-0.5, 0.5]
score = concat(a, b, axis=1) |> hidden |> tanh |> out |> sigmoid
output score to bank
output risky = score > 0.5 to bank, bureau
""",
    "wide relu": HEAD
    + "input x : [700] from a in [-4, 4]\ninput z : [700] from b in [-4, 4]\noutput y = relu(x * z) to a\n",
}
