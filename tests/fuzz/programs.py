"""Random programs that have a meaning, with their data and what their results may be, as a hypothesis strategy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.boxes import Array, Box, Format, stored
from tests.fuzz.building import Builder, Value
from tests.fuzz.calls import CALLS

FORMATS = {
    "": Format(),
    "precision fixed(bits=32)\n": Format(32, 10),
    "precision fixed(bits=64, frac=20)\n": Format(64, 20),
    "precision fixed(bits=32, frac=6)\n": Format(32, 6),
}
NETWORKS = ("lan", "wan", "rtt=5ms,bandwidth=200Mbps")
SIZES = (1, 2, 3, 4, 5, 7, 9, 2, 3, 70)
MOST_ELEMENTS = 700
MOST_CALLS, CALLS_ON_AVERAGE = 12, 8
MOST_TRIES = 3
MOST_OUTPUTS = 5
EXECUTED_ONE_IN = 4


@dataclass(frozen=True)
class Case:
    """A program, its options, its data, and for each result the box in which it must lie.

    in_memory: whether it is also to run in executors, and by `Program.simulate`; drawn, so that a finding shrinks.
    """

    text: str
    network: str
    checked: bool
    format: Format
    inputs: dict[str, Array]
    params: dict[str, Array]
    expected: dict[str, Box]
    in_memory: bool

    def __str__(self) -> str:
        """A script that runs the program, with what its results may be as comments."""
        lines = ["import numpy as np", "import mpc_runtime as mpc", "", f'TEXT = """{self.text}"""', ""]
        for word, values in (("inputs", self.inputs), ("params", self.params)):
            lines += [f"{word} = {{", *(f"    {key!r}: np.array({v.tolist()!r})," for key, v in values.items()), "}"]
        lines.append(f"program = mpc.compile(text=TEXT, network={self.network!r}, checked={self.checked})")
        lines.append("print(program.simulate(inputs, params).results)")
        for name, box in self.expected.items():
            lines.append(f"# {name} ({box.kind}) from {box.lo.tolist()}\n# {' ' * len(name)} to {box.hi.tolist()}")
        return "\n".join(lines)


@st.composite
def cases(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Case:
    chosen = draw(st.sampled_from(["", "", "", "", *FORMATS]))
    sizes = [draw(st.sampled_from(SIZES)) for _ in range(3)]
    b = Builder(draw, FORMATS[chosen], sizes)
    letters = "m" * b.whole(1, 8)  # moves what follows in the plan
    _given(b)
    while b.chance(2) and len(b.values) < 3:
        _given(b)
    for _ in range(MOST_CALLS):
        if b.whole(0, CALLS_ON_AVERAGE) == 0:  # asked each time, so that a finding shrinks call by call
            break
        if b.chance(8):
            _given(b)
        for _ in range(MOST_TRIES):
            if b.pick(CALLS)(b) is not None:
                break
    expected = _outputs(b)
    head = f"model {letters}\nrole a, b, h[2]\ndim batch = {sizes[0]}\n{chosen}"
    text = head + "\n".join(b.lines) + "\n"
    network, checked = b.pick(NETWORKS), b.chance(3)
    return Case(text, network, checked, b.f, b.inputs, b.params, expected, b.whole(1, EXECUTED_ONE_IN) == 1)


def _given(b: Builder) -> Value:
    a, c, d = b.sizes
    shapes = [(c,), (), (a, c), (c, d), (1, c), (a, 1), (a, c, d), (d,)]
    shapes = [shape for shape in shapes if np.prod(shape) <= MOST_ELEMENTS]
    if b.chance(8):
        image = (b.pick([1, 2]), b.pick([1, 2, 4]), b.whole(2, 6), b.whole(1, 5))
        return b.input("fixed", image, b.pick([(0, 1), (-4, 4)]))
    return b.input(b.pick(["fixed", "fixed", "fixed", "int", "bit"]), b.pick(shapes))


def _outputs(b: Builder) -> dict[str, Box]:
    """Results that nobody uses, and some that are."""
    unused = [v for v in b.values if v not in b.used and not v.given]
    for value in unused[:-MOST_OUTPUTS]:
        b.lines.append(f"{b.name('v')} = {value.text}")  # or a layer would be applied nowhere
    ends = unused[-MOST_OUTPUTS:] or b.values[-1:]
    ends += [v for v in b.values if v in b.used and b.chance(8)]
    expected = {}
    for value in dict.fromkeys(ends):
        name = b.name("y")
        roles = b.pick(["a", "b", "a, b", "h", "h[1], a"])
        b.lines.append(f"output {name} = {value.text} to {roles}")
        box = stored(b.f, value.box)
        expected[name] = Box(box.kind, np.array(box.lo), np.array(box.hi))
    return expected
