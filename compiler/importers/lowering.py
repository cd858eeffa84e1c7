"""From an ONNX graph to terms: node after node, what is known ahead of time folded, everything else by the table.

The errors of all nodes are collected; what depends on one that was refused is not reported again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import helper

from compiler.graph import Kind
from compiler.importers import files, loops
from compiler.importers.known import Known, fold, is_weight
from compiler.importers.nodes import Absent, Node, Value
from compiler.importers.operators import HANDLERS, REFUSED, nearest, reductions
from compiler.importers.problems import ImportFailed, Refusal, Unsupported
from compiler.importers.sizes import Size, Trials
from compiler.importers.terms import Term, named, source

KINDS = {
    onnx.TensorProto.FLOAT: Kind.FIXED,
    onnx.TensorProto.DOUBLE: Kind.FIXED,
    onnx.TensorProto.FLOAT16: Kind.FIXED,
    onnx.TensorProto.BFLOAT16: Kind.FIXED,
    onnx.TensorProto.BOOL: Kind.BIT,
    **dict.fromkeys(
        (
            onnx.TensorProto.INT8,
            onnx.TensorProto.INT16,
            onnx.TensorProto.INT32,
            onnx.TensorProto.INT64,
            onnx.TensorProto.UINT8,
            onnx.TensorProto.UINT16,
            onnx.TensorProto.UINT32,
            onnx.TensorProto.UINT64,
        ),
        Kind.INT,
    ),
}
"""What the elements of an input are here."""

NEWEST = 23  # the version whose attributes are all known here
RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
FLATTENING = ("Softmax", "LogSoftmax", "Hardmax")
"""Operators of which ONNX's evaluator knows the newest meaning only."""
ELSEWHERE = "leave this step out of the export, and compute it before or after the private run"
"""The way out where nothing nearer is known."""
NEVER_FOLDED = frozenset({*RANDOM, "Scatter", "ZipMap"})  # ONNX's evaluator knows no Scatter


@dataclass(frozen=True)
class Axis:
    """A size of an input: a number, or the name of a free dim."""

    size: int | None
    dim: str | None


@dataclass(frozen=True)
class Given:
    """An input of the graph: its name there, and its type."""

    name: str
    kind: Kind
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Lowered:
    """The inputs and outputs of a model, in its order and by its names. A label of text has its texts in `labels`."""

    inputs: tuple[Term, ...]
    outputs: tuple[tuple[str, Term], ...]
    labels: Mapping[str, tuple[str, ...]]


def lower(model: files.Imported, given: Sequence[Given], trials: Trials, dims: Mapping[str, int]) -> Lowered:
    """Raises ImportFailed with all the nodes that are refused, Undecided when a free dim needs a number."""
    lowering = Lowering(model, trials.count)
    inputs = []
    for each in given:
        shape = [_size(axis, trials, dims) for axis in each.axes]
        try:
            inputs.append(source(each.name, each.kind, shape, trials.count))
        except Unsupported as problem:  # of more elements than a machine holds
            raise ImportFailed(model.name, [_refusal(each.name, "input", problem)]) from None
        lowering.values[each.name] = inputs[-1]
    lowering.run(model.graph)
    outputs = lowering.outputs(model.graph)
    if lowering.refusals:
        raise ImportFailed(model.name, lowering.refusals)
    return Lowered(tuple(inputs), tuple(outputs), lowering.labels)


def _size(axis: Axis, trials: Trials, dims: Mapping[str, int]) -> Size:
    if axis.dim is None:
        assert axis.size is not None
        return trials.size(axis.size)
    return Size(trials.dims[axis.dim]) if axis.dim in trials.dims else trials.size(dims[axis.dim])


def _refusal(name: str, op: str, problem: Unsupported) -> Refusal:
    return Refusal(name, op, problem.reason, problem.help or ELSEWHERE)


def _is_whole(value: Value | None) -> bool:
    """Whether its elements are whole numbers."""
    if isinstance(value, Known):
        return value.arrays[0].dtype.kind in "iu"
    return isinstance(value, Term) and value.kind is Kind.INT


def names_needed(graph: Any) -> set[str]:
    """The values that the outputs of the graph depend on, also by way of a branch inside it."""
    found = {output.name for output in graph.output}
    for proto in reversed(graph.node):
        if found.isdisjoint(proto.output):
            continue
        found.update(proto.input)
        for attribute in proto.attribute:
            if attribute.HasField("g"):
                found |= names_needed(attribute.g)
    return found


@dataclass
class Lowering:
    """The values by name; None stands for what a refused node would have made. What no output needs is left out."""

    model: files.Imported
    trials: int
    values: dict[str, Value | None] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    folded: dict[Any, list[Known]] = field(default_factory=dict)
    needed: set[str] = field(default_factory=set)

    def run(self, graph: Any) -> None:
        """All nodes of a graph, or of one within it, which sees the values around it."""
        if graph.sparse_initializer:
            name = graph.sparse_initializer[0].values.name
            self._refuse("", "SparseTensor", Unsupported(f"the weight {name} is sparse", "store it as a dense tensor"))
        for tensor in graph.initializer:
            array = files.array_of(tensor)
            self.values.setdefault(tensor.name, Known.same(array, self.trials, tensor.name, is_weight(array)))
        self.needed |= names_needed(graph)
        for proto in graph.node:
            if not self.needed.isdisjoint(proto.output):
                self._node(proto)

    def outputs(self, graph: Any) -> list[tuple[str, Term]]:
        """The outputs that could be lowered."""
        found = []
        for output in graph.output:
            value = self.values.get(output.name)
            if value is None:
                if not self.refusals:
                    self._refuse(output.name, "output", Unsupported("no node computes it"))
                continue
            node = Node("output", output.name, (value,), (output.name,), {}, 0, self.trials)
            try:
                found.append((output.name, node.term()))
            except Unsupported as problem:
                self._refuse(output.name, "output", problem)
        return found

    def _node(self, proto: Any) -> None:
        missing = [name for name in proto.input if name and name not in self.values]
        if missing:
            self._refuse(proto.name, proto.op_type, Unsupported(f"its input `{missing[0]}` is defined nowhere above"))
            self.values |= dict.fromkeys(filter(None, proto.output))
            return
        inputs = [self.values[name] if name else None for name in proto.input]
        if any(name and value is None for name, value in zip(proto.input, inputs, strict=True)):
            self.values |= dict.fromkeys(filter(None, proto.output))
            return
        try:
            results = self._results(proto, inputs)
        except Unsupported as problem:
            self._refuse(proto.name, proto.op_type, problem)
            results = [None] * len(proto.output)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # of a node that is not as its operator has to be: attributes missing, lists of another length
            self._refuse(proto.name, proto.op_type, Unsupported(f"it is not as the operator is defined: {error}"))
            results = [None] * len(proto.output)
        for name, result in zip(proto.output, results, strict=False):
            if name:
                self.values[name] = named(result, name) if isinstance(result, Term) else result
        for name in proto.output[len(results) :]:
            self.values[name] = None

    def _results(self, proto: Any, inputs: Sequence[Value | None]) -> list[Value | None]:
        op, domain = proto.op_type, files.DEFAULT_DOMAIN if proto.domain == "ai.onnx" else proto.domain
        if op == "If" and isinstance(inputs[0], Known):
            return self._branch(proto, bool(inputs[0].array))
        if op in loops.HANDLERS and domain == files.DEFAULT_DOMAIN:
            return loops.HANDLERS[op](self._as_node(proto, inputs), self._body)
        key = (domain, op)
        known = [value for value in inputs if isinstance(value, Known)]
        by_hand = op in NEVER_FOLDED or (
            op in FLATTENING and known and self._version(domain) < reductions.FLATTENS_BEFORE
        )
        if len(known) == sum(value is not None for value in inputs) and not by_hand:
            return list(self._fold(proto, inputs))
        if key in REFUSED:
            raise Unsupported(*REFUSED[key])
        if key not in HANDLERS:
            raise Unsupported("this operator is not supported", nearest(op))
        self._check_attributes(proto, domain)
        result = HANDLERS[key](self._as_node(proto, inputs))
        results: list[Value | None] = [result] if isinstance(result, Term | Known | Absent) else list(result)
        self._check_whole(op, domain, inputs, results)
        return results

    def _as_node(self, proto: Any, inputs: Sequence[Value | None]) -> Node:
        attributes = {each.name: helper.get_attribute_value(each) for each in proto.attribute}
        outputs = tuple(name if name in self.needed else "" for name in proto.output)
        version = self._version(files.DEFAULT_DOMAIN if proto.domain == "ai.onnx" else proto.domain)
        return Node(proto.op_type, proto.name, tuple(inputs), outputs, attributes, version, self.trials)

    def _fold(self, proto: Any, inputs: Sequence[Value | None]) -> list[Known]:
        """Folded once for equal nodes, so that a tensor that two layers share stays one."""
        known = [value if isinstance(value, Known) else None for value in inputs]
        if proto.op_type in ("Identity", "Dropout") and known[0] is not None:
            return [known[0]]
        if proto.op_type == "Constant":
            (attribute,) = proto.attribute
            if attribute.name == "value":
                array = files.array_of(attribute.t)
                return [Known.same(array, self.trials, proto.output[0], is_weight(array))]
        plain = type(proto)()
        plain.CopyFrom(proto)
        plain.name = ""
        del plain.input[:], plain.output[:]
        key = (plain.SerializeToString(), tuple(known), len(proto.output))
        if key not in self.folded:
            self.folded[key] = fold(proto, known, self.model.opsets, self.trials)
        return self.folded[key]

    def _check_attributes(self, proto: Any, domain: str) -> None:
        """Refuses attributes that came later than the versions whose meanings are known."""
        newer = self._version(domain) > NEWEST and domain == files.DEFAULT_DOMAIN
        if not newer or not onnx.defs.has(proto.op_type, NEWEST):
            return
        known = onnx.defs.get_schema(proto.op_type, NEWEST, domain).attributes
        new = [each.name for each in proto.attribute if each.name not in known]
        if new:
            raise Unsupported(f"its attribute {new[0]} is newer than opset {NEWEST}", f"export with opset {NEWEST}")

    def _check_whole(
        self, op: str, domain: str, inputs: Sequence[Value | None], results: Sequence[Value | None]
    ) -> None:
        """Refuses real results where ONNX's are of the type of an operand, which is whole: there they are cut off."""
        version = min(self._version(domain), onnx.defs.onnx_opset_version())
        if domain != files.DEFAULT_DOMAIN or not onnx.defs.has(op, version):
            return
        schema = onnx.defs.get_schema(op, version, domain)
        whole = {each.type_str for each, value in zip(schema.inputs, inputs, strict=False) if _is_whole(value)}
        for each, result in zip(schema.outputs, results, strict=False):
            if each.type_str in whole and isinstance(result, Term) and result.kind is Kind.FIXED:
                help = "cast to float before it, and to int64 after it if its result should be cut off"
                raise Unsupported("of whole numbers it gives whole numbers, and here real ones", help)

    def _branch(self, proto: Any, condition: bool) -> list[Value | None]:
        """What the branch of an `If` gives whose condition is known."""
        wanted = "then_branch" if condition else "else_branch"
        return self._body(next(each.g for each in proto.attribute if each.name == wanted), {})

    def _body(self, graph: Any, given: Mapping[str, Value | None]) -> list[Value | None]:
        """What a graph within the graph gives, its inputs given."""
        self.values |= given
        self.run(graph)
        return [self.values.get(output.name) for output in graph.output]

    def _version(self, domain: str) -> int:
        return self.model.opsets.get(domain, 1)

    def _refuse(self, name: str, op: str, problem: Unsupported) -> None:
        self.refusals.append(_refusal(name, op, problem))
