"""What a kind of layer is: its arguments, the parameters that it owns and what it computes with them.

The front end owns instances, key paths and sharing; a layer here is told its configuration and the value that flows in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.graph import Kind, OpError, Shape, Value
from compiler.graph.interval import Interval
from compiler.ops import build
from compiler.ops.rules import show
from compiler.ops.signatures import Parameter, Takes, bind, signature

Config = Mapping[str, Any]


@dataclass(frozen=True)
class LayerParam:
    """A parameter of one layer instance: the last part of its key, and its shape.

    `ranged` says whether the range of `weights` holds for the parameter itself; batchnorm's bounds what is computed
    from its parameters instead. `own` is a range that the layer itself sets. `outputs` is the axis of the outputs whose
    weights these are, `groups` as of `Param`.
    """

    key: str
    shape: Shape
    ranged: bool = True
    kind: Kind = Kind.FIXED
    own: Interval | None = None
    outputs: int | None = None
    groups: int = 1

    def contract(self, declared: Interval | None) -> Interval | None:
        """The range that the parameter must lie in, where `declared` is that of its `weights`."""
        return (declared if self.ranged else None) if self.own is None else self.own


@dataclass(frozen=True)
class Layer:
    """A kind of layer. `check` refuses wrong arguments, `params` gives what parameters an input of a shape needs.
    `trained` builds it in a model that trains, where that is not the same."""

    name: str
    parameters: tuple[Parameter, ...]
    params: Callable[[Config, Shape], tuple[LayerParam, ...]]
    build: Callable[[Config, Value, Mapping[str, Value], Interval | None], Value]
    check: Callable[[Config], None] = lambda config: None
    trained: Callable[[Config, Value, Mapping[str, Value], Interval | None], Value] | None = None

    @property
    def signature(self) -> str:
        return signature(self.name, self.parameters)

    def configure(self, positional: Sequence[Any], named: Mapping[str, Any]) -> Config:
        """The arguments of `layer NAME = kind(…)`, bound and converted; raises OpError."""
        config = bind(self.name, self.parameters, positional, named)[1]
        self.check(config)
        return config

    def parameters_for(self, config: Config, shape: Shape) -> tuple[LayerParam, ...]:
        """The parameters at the first application, on an input of `shape`; raises OpError when it does not fit."""
        return self.params(config, shape)

    def apply(
        self,
        config: Config,
        x: Value,
        params: Mapping[str, Value],
        declared: Interval | None = None,
        trains: bool = False,
    ) -> Value:
        """The layer on `x`; `declared` is the range of its `weights`; trains: whether the model does. Raises OpError
        (also on another input size)."""
        for needed in self.parameters_for(config, x.shape):
            made = params[needed.key].shape
            if made != needed.shape:
                raise OpError(
                    f"this layer's {needed.key} is {show(made)} since its first application,"
                    f" but an input {show(x.shape)} needs {show(needed.shape)}",
                    "use another layer for another size",
                    0,
                )
        make = self.trained if trains and self.trained is not None else self.build
        return make(config, build.to_number(x), params, declared)


def at_least(layer: str, config: Config, **least: int) -> None:
    """Refuses arguments below their least value; an option that is text is not among them."""
    for name, smallest in least.items():
        given = config[name]
        if not isinstance(given, str) and (min(given) if isinstance(given, tuple) else given) < smallest:
            found = show(given) if isinstance(given, tuple) else given
            raise OpError(f"`{name}` of {layer} expects at least {smallest}, found {found}", arg=name)


BIAS = Parameter("bias", Takes.FLAG, True)


def with_bias(config: Config, weight: Shape, outs: int) -> tuple[LayerParam, ...]:
    """`weight` of a shape and, unless the layer goes without, `bias` for each output."""
    found = LayerParam("weight", weight, outputs=0)
    return (found, LayerParam("bias", (outs,))) if config["bias"] else (found,)
