"""Layers as the program declares them: instances with their key paths, parameters and sharing.

An instance of a built-in kind makes its parameters at its first application, when the sizes are known, and every
further application shares them. An instance of a `def` holds the layers inside it by name, so that its second
application meets the same ones. What a kind of layer computes is `compiler.ops.layers`' business, expansion of `def`s
`calls`'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compiler.graph import Param, Precision, Value, apply
from compiler.graph.interval import Interval
from compiler.lowering.context import Context
from compiler.lowering.definitions import Definition
from compiler.lowering.problems import POISON, Note, Poison, Problem
from compiler.ops import Layer, LayerParam
from compiler.ops.signatures import form_of
from dsl import ast
from dsl.ast import Span
from dsl.errors import did_you_mean

__all__ = [
    "BlockInstance",
    "Group",
    "Home",
    "Instance",
    "InstanceArray",
    "LayerInstance",
    "Provider",
    "attribute",
    "item",
    "kinds",
    "parameters",
]


@dataclass(frozen=True)
class Provider:
    """Who provides the parameters of a layer: one role, visible or not, in a range.

    l1: what the magnitudes of an output's weights sum to at most, by contract.
    """

    role: str
    public: bool = False
    range: Interval | None = None
    l1: float = math.inf


@dataclass
class Home:
    """Where layers are declared: the file (no path), or one instance of a `def`. `layers` are by name and index.

    `provide` says who provides the parameters of the layer of a name.
    """

    path: str
    provide: Callable[[str], Provider]
    layers: dict[tuple[str, int | None], Instance] = field(default_factory=dict)


@dataclass
class LayerInstance:
    """An instance of a built-in kind. `places` is where each argument of its statement stands, by its name.

    `broken` says that an application failed before there were parameters: what hangs on them is not reported again.
    """

    path: str
    span: Span
    kind: Layer
    config: Mapping[str, Any]
    places: dict[str, Span]
    provider: Provider
    parameters: dict[str, Value] = field(default_factory=dict)
    broken: bool = False

    def apply(self, context: Context, x: Callable[[], Value], span: Span, blame: Span, notes: list[Note]) -> object:
        """The layer on `x`; makes the parameters the first time. Raises Problem when x does not fit."""
        try:
            form = form_of(self.kind.name, self.kind.parameters)
            return context.made(span, blame, lambda: self._apply(x(), context), notes, self.places, form)
        except Problem:
            self.broken = self.broken or not self.parameters
            raise

    def _apply(self, x: Value, context: Context) -> Value:
        if not self.parameters:
            step = (context.precision or Precision()).step
            needed = self.kind.parameters_for(self.config, x.shape)
            self.parameters = {each.key: self._leaf(each, step) for each in needed}
        return self.kind.apply(self.config, x, self.parameters, self.provider.range, context.trains)

    def _leaf(self, needed: LayerParam, step: float) -> Value:
        path, shape, owner = f"{self.path}.{needed.key}", needed.shape, self.provider
        leaf = Param(needed.kind, shape, owner.role, owner.public, key=path, dims=(None,) * len(shape))
        if needed.outputs is not None:
            terms = math.prod(shape) // (shape[needed.outputs] * needed.groups)
            stored = owner.l1 + terms * step / 2  # what is rounded may be so much more
            leaf = replace(leaf, l1=stored, outputs=needed.outputs, groups=needed.groups)
        return apply(leaf, span=self.span, name=path, declared=needed.contract(owner.range))


@dataclass
class BlockInstance:
    """An instance of a `def` with layers: the parameters that its statement binds, and the layers inside."""

    path: str
    span: Span
    definition: Definition
    bound: dict[str, object]
    home: Home


@dataclass
class InstanceArray:
    """`block` where `layer block[i] = …` declares `block[0]`, `block[1]`, …"""

    name: str
    items: dict[int, Instance | Poison] = field(default_factory=dict)
    broken: bool = False  # an index is unknown after an error, or may be: no message about a missing one


@dataclass(frozen=True)
class Group:
    """`attn.out_proj`: parameters of a layer whose keys have this part in common."""

    layer: LayerInstance
    part: str


Instance = LayerInstance | BlockInstance


def item(array: InstanceArray, index: int, span: Span) -> Instance | Poison:
    """`array[index]`. Raises Problem when there is none."""
    found = array.items.get(index)
    if found is not None:
        return found
    if array.broken:
        return POISON
    have = ", ".join(str(each) for each in sorted(array.items))
    raise Problem(span, f"there is no layer `{array.name}[{index}]` here", f"`{array.name}` has {have}")


def attribute(context: Context, layer: Instance | Group, name: ast.Name, text: str) -> object:
    """`layer.name`: a parameter, several of them, or a layer inside. `text` is the layer as the author wrote it."""
    if isinstance(layer, Group):
        return _parameter(layer.layer, f"{layer.part}.{name.id}", name, text)
    context.used.add(layer.span)
    if isinstance(layer, BlockInstance):
        return _inside(layer, name, text)
    if any(key.startswith(f"{name.id}.") for key in layer.parameters):
        return Group(layer, name.id)
    if layer.parameters:
        return _parameter(layer, name.id, name, text)
    if layer.broken:
        return POISON
    raise Problem(
        name.span,
        f"`{text}.{name.id}` has no size before `{text}` is applied",
        "use it below the first application of the layer",
        (layer.span, "the layer is declared here"),
    )


def _parameter(layer: LayerInstance, key: str, name: ast.Name, text: str) -> Value:
    if key in layer.parameters:
        return layer.parameters[key]
    have = ", ".join(f"`{each}`" for each in layer.parameters)
    help = did_you_mean(key, layer.parameters) or f"it has {have}"
    raise Problem(name.span, f"the {layer.kind.name} layer `{text}` has no parameter `{name.id}`", help)


def _inside(block: BlockInstance, name: ast.Name, text: str) -> object:
    layers = block.home.layers
    if (name.id, None) in layers:
        return layers[name.id, None]
    items: dict[int, Instance | Poison] = {
        index: layer for (each, index), layer in layers.items() if each == name.id and index is not None
    }
    if items:
        return InstanceArray(f"{text}.{name.id}", items)
    if not layers:
        raise Problem(
            name.span,
            f"`{text}.{name.id}` does not exist before `{text}` is applied",
            "use it below the first application of the layer",
        )
    names = dict.fromkeys(each for each, _ in layers)
    help = did_you_mean(name.id, names) or f"it has {', '.join(f'`{each}`' for each in names)}"
    raise Problem(name.span, f"`{text}` has no layer `{name.id}`", help)


def parameters(instance: Instance) -> Iterator[Value]:
    """The parameters of a layer and of those inside it, in the order of their declaration."""
    if isinstance(instance, LayerInstance):
        yield from instance.parameters.values()
        return
    for each in instance.home.layers.values():
        yield from parameters(each)


def kinds(instance: Instance) -> Iterator[tuple[str, str]]:
    """The path and the kind of a layer and of those inside it."""
    if isinstance(instance, LayerInstance):
        yield instance.path, instance.kind.name
        return
    for each in instance.home.layers.values():
        yield from kinds(each)
