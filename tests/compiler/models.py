"""A convolution, a batchnorm, a ReLU, a pool and a dense layer, lowered by hand, for tests of passes and prints."""

from __future__ import annotations

import numpy as np

from compiler.graph import Array, Graph, Output, Precision, Value
from compiler.ops import FUNCTIONS, LAYERS
from tests.compiler.graphs import leaf


def call(name: str, *args: object, **named: object) -> Value:
    return FUNCTIONS[name].call(args, named)


def layer(kind: str, name: str, x: Value, params: dict[str, Value], *args: object, **named: object) -> Value:
    """The layer `name` on x; its parameters are the modeller's, with weights in [-1, 1]."""
    config = LAYERS[kind].configure(args, named)
    own = {}
    for needed in LAYERS[kind].parameters_for(config, x.shape):
        key = f"{name}.{needed.key}"
        promise = (-1, 1) if needed.ranged else None
        own[needed.key] = params[key] = leaf(key, needed.shape, promise, "modeller", param=True)
    weights = next((value.declared for value in own.values() if value.declared), leaf().declared)
    return LAYERS[kind].apply(config, x, own, weights)


def small_network() -> Graph:
    params: dict[str, Value] = {}
    image = leaf("image", (2, 1, 6, 6), (0, 1))
    h = layer("conv2d", "conv1", image, params, 3, kernel=3, padding="same")
    h = layer("batchnorm", "bn1", h, params)
    h = call("maxpool2d", call("relu", h), 2)
    logits = layer("dense", "fc", call("flatten", h), params, 4)
    return Graph(
        name="small",
        roles=("client", "modeller"),
        dims={"batch": 2},
        array_roles=(),
        precision=Precision(),
        inputs=(image,),
        params=tuple(params.values()),
        outputs=(Output("probabilities", call("softmax", logits), ("client",)),),
    )


def numbers(graph: Graph) -> tuple[dict[str, Array], dict[str, Array]]:
    """(inputs, params): random numbers that keep the contracts, with variances near one."""
    random = np.random.default_rng(3)
    inputs = {leaf.op.key: random.uniform(0, 1, leaf.shape) for leaf in graph.inputs}
    params = {leaf.op.key: random.uniform(-0.4, 0.4, leaf.shape) for leaf in graph.params}
    for key in params:
        if key.endswith("running_var"):
            params[key] = 1 + params[key]
    return inputs, params
