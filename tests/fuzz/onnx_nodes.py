"""ONNX's own tests of single operators, through import, compiler and simulator.

Each case agrees or is refused, with the node, a reason and a way out; none may crash or give another result. A case has
every operand as an input of the graph, which no exporter does, so operands become weights until the model is accepted.

    python -m tests.fuzz.onnx_nodes                  # all of them, about two minutes
    python -m tests.fuzz.onnx_nodes --only test_lstm # those whose names begin so
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx

import mpc_runtime as mpc
from tests.fuzz.longrun import crash

EXACT = 3e-4  # what float64 may differ from a case in single precision, relative to results above 1
HALF = 8e-3  # from one in half precision
PRIVATE = 5e-3  # what the number format may differ
LIMIT = 2.0**30  # of the number format

AGREES, REFUSED, OUTSIDE, WRONG = "agrees", "refused", "outside the format", "wrong"


@dataclass(frozen=True)
class Outcome:
    """What became of a case, and why."""

    kind: str
    why: str = ""


@cache
def cases(files: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """The cases by name, or those of some of ONNX's files: it makes all of them, which takes ten seconds."""

    def import_some(package: Any) -> None:
        for file in files:
            importlib.import_module(f"{package.__name__}.{file}")

    with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")  # some overflow on purpose while they are made
        from onnx.backend.test.case import node

        if files:
            stack.enter_context(patch.object(node, "import_recursive", import_some))
        return {case.name: case for case in node.collect_testcases(None)}


def judged(case: Any) -> Outcome:
    """What import, compiler and simulator make of a case."""
    inputs, expected = case.data_sets[0]
    names = [each.name for each in case.model.graph.input]
    tensors = np.ndarray | np.generic | onnx.TensorProto
    if len(names) != len(inputs) or not all(isinstance(each, tensors) for each in [*inputs, *expected]):
        return Outcome(OUTSIDE, "an operand is no tensor")
    if any(isinstance(each, onnx.TensorProto) and not is_half(each) for each in inputs):
        return Outcome(OUTSIDE, "an operand has numbers of few bits")
    feeds = dict(zip(names, map(_numbers, inputs), strict=True))
    try:
        return _judged(case.model, feeds, expected)
    except Exception as error:  # the finding that this looks for
        return Outcome(WRONG, crash(error))


def _numbers(array: Any) -> np.ndarray:
    array = onnx.numpy_helper.to_array(array) if isinstance(array, onnx.TensorProto) else np.asarray(array)
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _judged(model: Any, feeds: Mapping[str, np.ndarray], expected: Sequence[Any]) -> Outcome:
    refusal: mpc.Error | None = None
    for held in attempts(feeds):
        try:
            program = mpc.import_onnx(frozen(model, feeds, held))
        except mpc.Error as error:
            refusal = error
            continue
        given = [array for name, array in feeds.items() if name not in held]
        return _compared(program, given, expected)
    assert refusal is not None
    return _refused(refusal)


def is_half(array: Any) -> bool:
    """Whether a number is known to few bits only."""
    if isinstance(array, onnx.TensorProto):
        return array.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    return array.dtype.kind in "fV" and array.dtype.itemsize <= 2


def attempts(feeds: Mapping[str, np.ndarray]) -> Iterator[list[str]]:
    """What becomes weights: nothing; shapes, axes and other lists of whole numbers; scalars too; all but the first."""
    rest = list(feeds)[1:]
    whole = [name for name in rest if feeds[name].dtype.kind in "iu" and feeds[name].ndim <= 1]
    small = [name for name in rest if feeds[name].size <= 1]
    found: list[list[str]] = []
    for held in ([], whole, list(dict.fromkeys([*whole, *small])), rest):
        if held not in found:
            found.append(held)
    return iter(found)


def frozen(model: Any, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> Any:
    """The model with some of its inputs as weights, as an exporter would have them."""
    made = copy.deepcopy(model)
    made.graph.initializer.extend(onnx.numpy_helper.from_array(feeds[name], name) for name in names)
    kept = [each for each in made.graph.input if each.name not in names]
    del made.graph.input[:]
    made.graph.input.extend(kept)
    return made


def _refused(error: mpc.Error) -> Outcome:
    """A refusal that says what it has to is one; any other is a finding."""
    if isinstance(error, mpc.InputError):
        return Outcome(REFUSED, str(error))
    refusals = getattr(error, "refusals", ())
    if not refusals:
        return Outcome(WRONG, f"what was written does not compile: {str(error)[:500]}")
    helpless = [str(each) for each in refusals if not each.help]
    if helpless:
        return Outcome(WRONG, f"a refusal without a way out: {helpless[0]}")
    return Outcome(REFUSED, f"{refusals[0].op}: {refusals[0].reason}")


def _compared(program: mpc.Program, given: Sequence[np.ndarray], expected: Sequence[Any]) -> Outcome:
    if any(array.dtype.kind == "f" and not (np.abs(array) < LIMIT).all() for array in given):
        return Outcome(OUTSIDE, "an input is beyond the number format")
    values = dict(zip([each.name for each in program.plan.inputs], given, strict=True))
    try:
        exact = program.reference(values, program.weights)
        private = program.simulate(values, program.weights)
    except mpc.InputError as error:
        return Outcome(OUTSIDE, str(error))
    if private.violations:
        return Outcome(OUTSIDE, f"a value leaves its range: {private.violations[0]}")
    for output, wanted in zip(program.plan.outputs, expected, strict=False):
        half = is_half(wanted)
        wanted = _numbers(wanted).astype(np.float64)
        finite = np.isfinite(wanted) & (np.abs(np.nan_to_num(wanted)) < LIMIT)
        for found, bound in ((exact, HALF if half else EXACT), (private.results, PRIVATE + HALF * half)):
            result = np.asarray(found[output.name], np.float64)
            if result.shape != wanted.shape:
                return Outcome(WRONG, f"{output.name} has the shape {result.shape}, expected {wanted.shape}")
            off = np.abs(result - wanted)[finite] / np.maximum(1, np.abs(wanted[finite]))
            if off.size and not off.max() <= bound:
                return Outcome(WRONG, f"{output.name} is off by {off.max():.3g}\n{program.source}")
    return Outcome(AGREES)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.onnx_nodes", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="PREFIX", help="the cases whose names begin so")
    parser.add_argument("--refused", action="store_true", help="list what was refused, too")
    asked = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for name, case in sorted(cases().items()):
        if not name.startswith(asked.only):
            continue
        outcome = judged(case)
        counts[outcome.kind] += 1
        if outcome.kind == WRONG or (asked.refused and outcome.kind != AGREES):
            print(f"{name}: {outcome.kind}: {outcome.why}", flush=True)
        if outcome.kind in (REFUSED, OUTSIDE):
            reasons[f"{outcome.kind}: {outcome.why.splitlines()[0][:110]}"] += 1
    print(*(f"{count:5} {why}" for why, count in reasons.most_common()), sep="\n")
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return 1 if counts[WRONG] else 0


if __name__ == "__main__":
    sys.exit(main())
