"""What a range proof says of a source's promises when the real weights are there: the owner's client repeats it.

A promise is *proved* if it follows from the weights, the declared ranges of inputs and promises that are proved before
it. It is *broken* if some input within its declared range certainly makes the value leave it; the rest stays open.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from compiler.calibration.boxes import ROUNDING, Box, bounds
from compiler.calibration.claims import made_by_parties
from compiler.graph import BATCH, Array, Graph, Leaf, Value
from compiler.graph.interval import Interval
from compiler.lowering.model import lower
from compiler.reading.variants import same_rows
from dsl.errors import SourceErrors
from mpc_runtime.errors import InputError, PromiseWarning, number
from mpc_runtime.plan import Plan

if TYPE_CHECKING:
    from compiler.pipeline import Stages

__all__ = ["Finding", "Verdict", "check_provided", "verdicts"]

SUMMED = 1e-9
"""Part of a bound (of at least 1) by which float64 sums may have moved it."""


class Finding(Enum):
    PROVED = "proved"
    OPEN = "open"
    BROKEN = "broken"


@dataclass(frozen=True)
class Verdict:
    """Of one promise: where it stands, the bound that was found without it, and its worst element."""

    name: str
    line: int
    promise: Interval
    found: Interval
    index: tuple[int, ...]
    finding: Finding

    def __str__(self) -> str:
        at = f" at [{', '.join(map(str, self.index))}]" if self.index else ""
        what = f"`{self.name}` is promised to be in {self.promise}"
        if self.finding is Finding.BROKEN:
            return f"{what}, but with these weights it reaches {_span(self.found)}{at}, for inputs within their ranges"
        return f"{what}; with these weights its bound is {_span(self.found)}"


def _span(found: Interval) -> str:
    return f"[{number(found.lo)}, {number(found.hi)}]"


def verdicts(graph: Graph, params: Mapping[str, Array]) -> tuple[Verdict, ...]:
    """Of every promise about what the parties compute, but those that were only measured; in the graph's order.

    params: of one role or several, as their owners provided them; others are anywhere in their range.
    """
    found: list[Verdict] = []

    def judge(value: Value, box: Box) -> bool:
        verdict = _verdict(value, box)
        if not value.measured and not isinstance(value.op, Leaf) and made_by_parties(value):
            found.append(verdict)
        return verdict.finding is Finding.PROVED

    bounds(graph, params, judge)
    return tuple(found)


def _verdict(value: Value, box: Box) -> Verdict:
    promise = value.declared
    assert promise is not None
    slack = SUMMED * max(1.0, promise.magnitude)
    room = ROUNDING * max(1.0, promise.magnitude)
    beyond = np.maximum(promise.lo - box.lo, box.hi - promise.hi)
    outside = np.maximum(promise.lo - box.hi, box.lo - promise.hi)  # by how much an element always leaves it
    certain = np.where(outside > room, outside, beyond if box.reached or box.exact else -np.inf)
    finding, worst = Finding.OPEN, int(beyond.argmax())
    if beyond.max() <= slack:
        finding = Finding.PROVED
    elif certain.max() > room:
        finding, worst = Finding.BROKEN, int(certain.argmax())
    index = tuple(int(axis) for axis in np.unravel_index(worst, box.lo.shape))
    line = value.span.line if value.span is not None else 0
    bound = Interval(float(box.lo.flat[worst]), float(box.hi.flat[worst])) if finding is Finding.BROKEN else box.range
    return Verdict(value.name or value.op.name, line, promise, bound, index, finding)


HELP = "declare a wider range; or, if such inputs never come, write `in measured [lo, hi]`, which nobody tries to prove"


def check_provided(plan: Plan, stages: Callable[[], Stages], params: Mapping[str, Mapping[str, Array]]) -> None:
    """Looks at the promises that the clients of these roles are to prove, before parameters are shared.

    stages: those of the source beside the plan, which compile to it. params: by role and name. Raises InputError for
    promises that are certainly broken, and issues a PromiseWarning that lists what stays unproved.
    """
    tried = [claim for claim in plan.claims if claim.known == "provided" and params.get(claim.owner)]
    if not tried:
        return
    if plan.source:
        unproved = _checked(stages(), {name: a for own in params.values() for name, a in own.items()})
    else:
        unproved = [f"{claim}: the plan has no source text to look at" for claim in tried]
    if unproved:
        warnings.warn(PromiseWarning("\n".join(["not proved with these weights:", *unproved])), stacklevel=6)


def _checked(stages: Stages, params: Mapping[str, Array]) -> list[str]:
    """What stays unproved, a line each; InputError for what is broken."""
    found = verdicts(_small(stages), params)
    told = {f: list(dict.fromkeys(_line(stages, v) for v in found if v.finding is f)) for f in Finding}
    if broken := told[Finding.BROKEN]:
        raise InputError("\n".join([*broken, f"  help: {HELP}"]))
    return told[Finding.OPEN]


def _line(stages: Stages, verdict: Verdict) -> str:
    return f"{stages.lowered.filename}:{verdict.line}: {verdict}"


def _small(stages: Stages) -> Graph:
    """The model for one row, where every row is computed alike."""
    graph = stages.lowered
    if graph.dims.get(BATCH, 1) == 1:
        return graph
    try:
        found = lower(stages.tree, {**graph.dims, BATCH: 1})[0]
    except SourceErrors:
        return graph
    return found if same_rows(graph, found) else graph
