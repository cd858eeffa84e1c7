"""The importer on one page: a file becomes terms, the terms a program, and a program that does not compile an error.

Free dims stay free where the model allows it. Where its arithmetic on shapes says more than the language's sizes can,
or a node is refused, which one size may allow, the dims behind the first axis get numbers, and then all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from compiler.graph import Array, Kind
from compiler.importers import files, masks
from compiler.importers.emission import Owners, Written, write
from compiler.importers.lowering import KINDS, Axis, Given, lower
from compiler.importers.names import RESERVED, TITLES, cleaned, is_automatic
from compiler.importers.problems import ImportFailed
from compiler.importers.rewriting import rewritten
from compiler.importers.sizes import Trials, Undecided
from compiler.ops.rules import show
from dsl.grammar import keywords
from mpc_runtime.errors import InputError

__all__ = ["Settings", "import_model"]

BATCH = "batch"
ROWS = 1  # the default of a free first axis


@dataclass(frozen=True)
class Settings:
    """How a model is imported: its roles, sizes for free dims, samples of inputs by the graph's names, its own name."""

    role: str = "client"
    owner: str = "modeller"
    dims: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[str, Array] = field(default_factory=dict)
    title: str = ""


def import_model(model: Any, settings: Settings) -> Written:
    """The program and the weights of an ONNX model: a path, bytes, or an `onnx.ModelProto`.

    Raises InputError for what is no model or lacks a size, ImportFailed (a CompileError) with the nodes that have no
    private counterpart.
    """
    found = files.load(model)
    given, rows = _by_rows(inputs_of(found))
    dims = _defaults(given, {BATCH if name == rows else name: size for name, size in settings.dims.items()})
    ranges = measured(given, settings.samples, dims)
    _check_roles(settings)
    owners = Owners(settings.role, settings.owner)
    for free in _attempts(given, dims):
        try:
            trials = Trials.of(free, dims)
            lowered = rewritten(lower(found, given, trials, dims))
            masks.check(found.name, lowered)
            return write(
                settings.title or title_of(found.name),
                lowered,
                trials,
                dims,
                owners,
                _head(found, settings.title),
                ranges,
            )
        except Undecided:  # noqa: PERF203
            if not free:
                raise InputError(f"{found.name}: a size of the model depends on its data") from None
        except ImportFailed:
            if not free:
                raise
    raise AssertionError("the last attempt has no free dims")


def title_of(name: str) -> str:
    """The name of a model, if somebody chose it."""
    return "imported" if TITLES.match(name) else name


def _check_roles(settings: Settings) -> None:
    for word in (settings.role, settings.owner):
        if cleaned(word) != word or word in RESERVED or word in keywords():
            raise InputError(f"the role {word!r}: expected a name of letters, digits and _ that is no keyword")


def inputs_of(model: files.Imported) -> list[Given]:
    """The inputs of the graph; those with an initializer are weights (IR 3)."""
    held = {tensor.name for tensor in model.graph.initializer}
    found = []
    for each in model.graph.input:
        if each.name in held:
            continue
        tensor = each.type.tensor_type
        if not each.type.HasField("tensor_type") or tensor.elem_type not in KINDS:
            raise InputError(f"{model.name}: the input `{each.name}` is no tensor of numbers: encode it before")
        if not tensor.HasField("shape"):
            raise InputError(f"{model.name}: the input `{each.name}` has no shape: export the model with one")
        if any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in tensor.shape.dim):
            raise InputError(
                f"{model.name}: the input `{each.name}` has no elements: export it with a size of at least 1"
            )
        axes = tuple(_axis(place, dim) for place, dim in enumerate(tensor.shape.dim))
        found.append(Given(each.name, KINDS[tensor.elem_type], axes))
    return found


def _axis(place: int, dim: Any) -> Axis:
    """A size that is given, or a dim by its name; a first axis without one is the batch."""
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return Axis(int(dim.dim_value), None)
    label = dim.dim_param if dim.HasField("dim_param") else ""
    if place == 0 and (is_automatic(label) or (label.startswith(("unk__", "s")) and label.strip("unk_s").isdigit())):
        return Axis(None, BATCH)
    return Axis(None, label or f"axis{place}")


def _by_rows(given: Sequence[Given]) -> tuple[Sequence[Given], str]:
    """The inputs, where the dim that counts rows is called `batch`, of which a session takes any number; and what the
    model calls it: what has that word in its name (`batch_size`), else what all first axes are called (`N`)."""
    names = dict.fromkeys(axis.dim for each in given for axis in each.axes if axis.dim)
    first = dict.fromkeys(each.axes[0].dim for each in given if each.axes and each.axes[0].dim)
    rows = [name for name in names if BATCH in name.lower()] or list(first)
    if BATCH in names or len(rows) != 1:
        return given, BATCH
    named = {rows[0]: BATCH}
    return [
        replace(each, axes=tuple(replace(axis, dim=named.get(axis.dim or "", axis.dim)) for axis in each.axes))
        for each in given
    ], rows[0]


def _defaults(given: Sequence[Given], wanted: Mapping[str, int]) -> dict[str, int]:
    """A size for every free dim: that asked for, else 1 for the first axis of an input."""
    for dim in wanted:
        _check_size(dim, wanted[dim])
    found: dict[str, int] = {}
    missing: dict[str, str] = {}
    for each in given:
        for place, axis in enumerate(each.axes):
            if axis.dim is None or axis.dim in found:
                continue
            if axis.dim in wanted:
                found[axis.dim] = int(wanted[axis.dim])
            elif _is_rows(place, axis.dim):
                found[axis.dim] = ROWS
            else:
                missing.setdefault(axis.dim, f"axis {place} of `{each.name}`")
    missing = {dim: where for dim, where in missing.items() if dim not in found}
    if missing:
        lines = ", ".join(f"{dim} ({where})" for dim, where in missing.items())
        example = next(iter(missing))
        raise InputError(f"the model leaves sizes open: {lines}; give each one, as in --dim {example}=16")
    unknown = [dim for dim in wanted if dim not in found]
    if unknown:
        known = ", ".join(found) or "none"
        raise InputError(f"--dim {unknown[0]}: the model has no such free size; its free sizes: {known}")
    return found


def _check_size(dim: str, size: object) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"--dim {dim}: a size is a whole number of at least 1, found {size!r}")


def _is_rows(place: int, dim: str) -> bool:
    """Whether an axis counts rows: the first one, and one that is called so."""
    return place == 0 or BATCH in dim.lower()


def _attempts(given: Sequence[Given], dims: Mapping[str, int]) -> Iterator[list[str]]:
    """Which dims stay free: all, those of a first axis, none."""
    axes = [(place, axis.dim) for each in given for place, axis in enumerate(each.axes) if axis.dim]
    rows = {dim for place, dim in axes if _is_rows(place, dim)}
    yield list(dims)
    leading = [dim for dim in dims if dim in rows]
    if len(leading) < len(dims):
        yield leading
    if leading:
        yield []


def _head(model: files.Imported, title: str) -> list[str]:
    version = model.opsets.get(files.DEFAULT_DOMAIN)
    more = f", opset {version}" if version else ""
    origin = title or f"the ONNX model {model.name}"
    return [
        f"Imported from {origin}{more}. Ranges of weights are those of its numbers,",
        "rounded up to powers of two. The file is yours to change: names, comments and ranges.",
    ]


def span_of(samples: Array, guard: float = 2.0) -> tuple[float, float]:
    """A range for values like these: the largest magnitude times the guard, rounded up to a power of two."""
    largest = float(np.abs(samples.astype(np.float64)).max(initial=0)) * guard
    bound = float(2.0 ** np.ceil(np.log2(largest))) if largest else 1.0
    return -bound, bound


def measured(
    given: Sequence[Given], samples: Mapping[str, Array], dims: Mapping[str, int]
) -> dict[str, tuple[float, float]]:
    """Ranges of real inputs by samples of them: finite numbers, and any number of rows."""
    names = [each.name for each in given]
    unknown = [name for name in samples if name not in names]
    if unknown:
        raise InputError(f"samples of {unknown[0]!r}: the model has no such input; it has {', '.join(names)}")
    wanted = {each.name: each for each in given}
    problems = [line for name, array in samples.items() for line in _misfit(wanted[name], array, dims)]
    if problems:
        raise InputError("\n".join(problems))
    return {name: span_of(array) for name, array in samples.items() if wanted[name].kind is Kind.FIXED}


def _misfit(given: Given, array: Array, dims: Mapping[str, int]) -> Iterator[str]:
    """What `mpc.calibrate` says of such samples."""
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        yield f"{given.name}: expected finite numbers"
    sizes = [dims[axis.dim] if axis.dim else axis.size or 0 for axis in given.axes]
    if array.ndim == len(sizes):
        free = [axis.dim is not None and _is_rows(place, axis.dim) for place, axis in enumerate(given.axes)]
        sizes = [max(n, 1) if any_ else size for n, any_, size in zip(array.shape, free, sizes, strict=True)]
        if array.ndim > 1 and array.shape[0] and array.shape[0] % sizes[0] == 0:
            sizes[0] = array.shape[0]  # several batches of a model whose batch is a number
    if array.shape != tuple(sizes):
        yield f"the input {given.name!r} expects {show(tuple(sizes))}, found {show(array.shape)}"
