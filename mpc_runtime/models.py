"""The facade for models that were trained elsewhere: programs made of them, what the language's layers take of them,
and which ranges their weights have.

As in `program.py`, the compiler is imported when a function is called, so that parties and dealer run without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .encoding.arrays import as_array, shape_problem
from .errors import CompileError, InputError
from .plan import Plan
from .program import Program, compile, with_source
from .roles.batches import BATCH, Batches
from .roles.files import match_names, parameters

if TYPE_CHECKING:
    from compiler.calibration.calibrate import Calibrated
    from compiler.importers.emission import Written
    from compiler.importers.trees import Forest

__all__ = ["calibrate", "calibrated", "forest_of", "from_sklearn", "from_torch", "import_onnx", "written"]

Array = np.ndarray

INSTALL_ONNX = "importing models needs the package onnx: pip install 'mpc-runtime[onnx]'"


def import_onnx(
    model: str | os.PathLike[str] | bytes | Any,
    *,
    role: str = "client",
    owner: str = "modeller",
    dims: Mapping[str, int] | None = None,
    inputs: Mapping[str, Any] | None = None,
    network: str = "lan",
) -> Program:
    """A program from an ONNX model, as PyTorch, Keras and scikit-learn are exported to.

    The result's `source` is a readable `.ppml` text, and its `weights` are what `Session.provide` takes. Names are
    those of the graph, changed where they are no names of the language.

    Args:
        model: The path of a file, its bytes, or an `onnx.ModelProto`.
        role: Who provides the inputs and learns the results.
        owner: Who provides the weights.
        dims: Sizes for what the model leaves open; a free first axis has 1 by default.
        inputs: Samples of inputs by the graph's names; the ranges of real inputs are twice the largest magnitude,
            rounded up to a power of two. Without them an input has no declared range.
        network: As of `compile`.

    Raises:
        InputError: The package onnx is missing, the file is no ONNX model, or a size is missing.
        CompileError: Nodes have no private counterpart; the error lists all of them.
    """
    text = written(model, role=role, owner=owner, dims=dims, inputs=inputs)
    return _compiled(text, inputs or {}, network)


def from_torch(
    module: Any,
    example_inputs: Any,
    *,
    role: str = "client",
    owner: str = "modeller",
    network: str = "lan",
) -> Program:
    """A program from a PyTorch module, by PyTorch's own exporter; see `import_onnx`.

    Args:
        module: In evaluation mode is how it is exported; afterwards it is as it was.
        example_inputs: A tensor, or a tuple of them. Their first axis becomes the dim `batch`, and their largest
            magnitudes give the ranges of the inputs.
        role: Who provides the inputs and learns the results.
        owner: Who provides the weights.
        network: As of `compile`.

    Raises:
        InputError: A package is missing, or PyTorch cannot export the module.
        CompileError: Nodes have no private counterpart; the error lists all of them.
    """
    _expect_onnx()
    from compiler.importers.exporters import torch_model

    model, samples = torch_model(module, example_inputs)
    text = written(model, role=role, owner=owner, inputs=samples, title=type(module).__name__)
    return _compiled(text, samples, network)


def from_sklearn(
    estimator: Any,
    examples: Any = None,
    *,
    role: str = "client",
    owner: str = "modeller",
    network: str = "lan",
) -> Program:
    """A program from a fitted estimator or pipeline of scikit-learn, by skl2onnx; see `import_onnx`.

    Args:
        estimator: Fitted on numbers; its only input is called `x`.
        examples: Rows like those to predict; their largest magnitude gives the range of the input.
        role: Who provides the inputs and learns the results.
        owner: Who provides the weights.
        network: As of `compile`.

    Raises:
        InputError: A package is missing, or skl2onnx cannot export the estimator.
        CompileError: Nodes have no private counterpart; the error lists all of them.
    """
    _expect_onnx()
    from compiler.importers.exporters import sklearn_model

    model, samples = sklearn_model(estimator, examples)
    text = written(model, role=role, owner=owner, inputs=samples, title=type(estimator).__name__)
    return _compiled(text, samples, network)


def written(
    model: Any,
    *,
    role: str = "client",
    owner: str = "modeller",
    dims: Mapping[str, int] | None = None,
    inputs: Mapping[str, Any] | None = None,
    title: str = "",
) -> Written:
    """The text and the weights that `import_onnx` compiles. title: the model's name, instead of the graph's."""
    _expect_onnx()
    from compiler.importers.models import Settings, import_model

    samples = {name: as_array(name, value) for name, value in (inputs or {}).items()}
    return import_model(model, Settings(role, owner, dict(dims or {}), samples, title))


def _expect_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise InputError(INSTALL_ONNX) from None


def _compiled(text: Written, samples: Mapping[str, Any], network: str) -> Program:
    """The program; where the ranges of its values are too wide, with those that weights and samples show."""
    try:
        program = compile(text=text.text, network=network)
    except CompileError as error:
        program = compile(text=_narrowed(text, samples, error), network=network)
    return replace(program, weights=text.weights)


def _narrowed(text: Written, samples: Mapping[str, Any], error: CompileError) -> str:
    """Raises the error for what is no matter of ranges."""
    from compiler.calibration.calibrate import calibrate as calibrated_text
    from dsl.errors import SourceErrors

    given = {text.inputs[name]: as_array(name, value) for name, value in samples.items()}
    whole = given if len(given) == len(text.inputs) else None
    try:
        return calibrated_text(text.text, "<text>", text.dims, text.weights, whole).source
    except (SourceErrors, ValueError):
        raise error from None


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


def calibrate(
    program: Program,
    *,
    params: Mapping[str, Any] | str | os.PathLike[str],
    inputs: Mapping[str, Any] | None = None,
    guard: float = 2.0,
) -> Program:
    """The program with ranges that nobody has to guess: those of its weights, and of values, in its source.

    Of a value it is proved, for every input within its declared range and these weights, that it stays within its
    range; or, where samples show one that is narrower by half, the range is the largest magnitude on the samples times
    `guard`. All ends are powers of two. The plan, with its ranges, is known to all machines.

    Args:
        program: With its source; the sizes and options stay.
        params: A weights file or a dict of arrays: the parameters of one or several roles.
        inputs: Samples, any number of rows along the dim `batch`. They need the parameters of all roles.
        guard: At least 1.

    Raises:
        InputError: A parameter or an input is missing, unknown or does not fit, or the model has a `train` block.
        CompileError: The plan has no source.
    """
    return with_source(program, calibrated(program, params, inputs, guard).source)


def calibrated(
    program: Program,
    params: Mapping[str, Any] | str | os.PathLike[str],
    inputs: Mapping[str, Any] | None = None,
    guard: float = 2.0,
    *,
    strict: bool = True,
    rename: Mapping[str, str] | None = None,
) -> Calibrated:
    """The source that `calibrate` compiles, and what was written into it. strict, rename: as of `Session.provide`."""
    from compiler.calibration.calibrate import calibrate as written

    if not guard >= 1:
        raise InputError(f"guard: expected a number of at least 1, found {guard!r}")
    plan = program.plan
    if program.stages.lowered.training is not None:
        message = (
            f"{plan.name} trains its weights, and what is proved or measured of these need not hold of what it learns"
        )
        raise InputError(f"{message}; calibrate it without its `train` block, with the weights that it has learnt")
    known = [t.name for t in plan.params]
    weights = _arrays("parameter", parameters(params, rename or {}, known, strict=strict), known)
    samples = None
    if inputs is not None:
        samples = _samples(plan, inputs, weights)
    try:
        return written(program.stages.tree.source, plan.filename, dict(plan.dims), weights, samples, guard)
    except (KeyError, ValueError) as error:
        raise InputError(str(error.args[0] if error.args else error)) from None


def _samples(plan: Plan, inputs: Mapping[str, Any], weights: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs by name, of as many rows each."""
    tensors = plan.inputs
    samples = _arrays("input", inputs, [t.name for t in tensors])
    missing = [t.name for t in (*plan.params, *tensors) if t.name not in weights and t.name not in samples]
    if missing:
        raise InputError(f"{', '.join(dict.fromkeys(missing))}: missing; samples need all parameters and inputs")
    for t in tensors:
        shape = (sum(each.name == t.name for each in tensors), *t.shape) if t.stacked else t.shape
        if samples[t.name].ndim != len(shape):
            raise InputError(shape_problem(t.name, shape, samples[t.name].shape))
    if any(BATCH in t.dims for t in tensors):
        Batches(plan, tensors, (), samples, frozenset(t.name for t in tensors if t.stacked))
    return samples


def _arrays(what: str, given: Mapping[str, Any], known: list[str]) -> dict[str, Array]:
    """Those given, by name: numbers, all of them finite."""
    arrays = {name: as_array(name, value) for name, value in given.items()}
    problems = [line for line in match_names(arrays, dict.fromkeys(known, ()), what) if "missing;" not in line]
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            problems.append(f"{name}: expected finite numbers")
    if not arrays:
        problems.append(f"expected at least one {what}, found none")
    if problems:
        raise InputError("\n".join(problems))
    return arrays
