"""What is repeated in a model is one `def`: its instances agree with the model, and the text says it once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.onnx_models import FLOAT, assert_agrees, imported, model, node

RANDOM = np.random.default_rng(5)


class Net:
    """Nodes behind one another, with weights under PyTorch's names, or without."""

    def __init__(self, named: bool = True) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}
        self.named, self.at = named, "x"

    def step(self, op: str, *more: str, source: str | None = None, **attributes: Any) -> str:
        result = f"v_{len(self.nodes)}"
        self.nodes.append(node(op, [source or self.at, *more], [result], **attributes))
        self.at = result
        return result

    def weight(self, path: str, *shape: int) -> str:
        name = path if self.named else f"onnx::Conv_{len(self.weights)}"
        self.weights[name] = RANDOM.normal(size=shape) * 0.4
        return name

    def conv(self, path: str, source: int, out: int, source_value: str | None = None, stride: int = 1) -> str:
        pair = self.weight(f"{path}.weight", out, source, 3, 3), self.weight(f"{path}.bias", out)
        return self.step("Conv", *pair, source=source_value, pads=[1] * 4, strides=[stride] * 2)

    def residual(self, path: str, channels: int, out: int | None = None, halves: bool = False) -> None:
        """Two convolutions beside nothing, or beside another one."""
        before, out = self.at, out or channels
        self.conv(f"{path}.conv1", channels, out, stride=1 + halves)
        self.step("Relu")
        inside = self.conv(f"{path}.conv2", out, out)
        beside = self.conv(f"{path}.down", channels, out, before, stride=2) if halves else before
        self.step("Add", beside, source=inside)
        self.step("Relu")

    def agrees(self, shape: tuple[int, ...], tensors: int | None = None) -> str:
        self.nodes[-1].output[0] = "y"
        net = model(self.nodes, {"x": (FLOAT, ["batch", *shape[1:]])}, ["y"], self.weights)
        program = assert_agrees(net, {"x": RANDOM.normal(size=shape)})
        assert program.weights is not None and len(program.weights) == (tensors or len(self.weights))
        return program.source


@pytest.mark.parametrize("named", [True, False])
def test_stages_of_residual_blocks_are_instances_with_their_widths(named: bool) -> None:
    net = Net(named)
    net.conv("stem", 1, 2)
    net.step("Relu")
    for stage, (before, after) in enumerate([(2, 4), (4, 6)]):
        net.residual(f"layer{stage}.0", before, after, halves=True)
        net.residual(f"layer{stage}.1", after)
    source = net.agrees((2, 1, 8, 8))
    assert source.count("def ") == 1 and source.count("= conv2d(channels") == 5 and source.count("= conv2d(2") == 1
    names = ("layer0", "layer1") if named else ("part1", "part2")
    assert f"layer {names[0]} = block(4)\n" in source and f"layer {names[1]} = block(6)\n" in source
    assert ("  layer part0_conv1 = " in source) is named


def test_blocks_and_what_stands_between_them() -> None:
    """Two kinds of blocks in turns that repeat nothing longer: a `def` for each."""
    net = Net()
    for n, halves in enumerate([False, True, True, False, False]):
        net.residual(f"stage.{n}", 2, halves=halves)
    source = net.agrees((2, 2, 8, 8))
    assert source.count("def block(x) {") == 1 and source.count("def block2(x) {") == 1
    assert source.count("= block()") == 3 and source.count("= block2()") == 2
    assert "x |> stage_0 |> stage_1 |> stage_2 |> stage_3 |> stage_4" in source


def test_a_run_of_several_steps_is_one_def() -> None:
    """A residual sum, a normalisation, another sum and another normalisation, three times."""
    net = Net()
    net.step("Tanh")
    for n in range(3):
        before = net.at
        net.step("MatMul", net.weight(f"h.{n}.first.weight", 4, 4))
        net.step("Gelu", domain="")
        net.step("Add", before)
        middle = net.step("LayerNormalization", net.weight(f"h.{n}.ln1.weight", 4), net.weight(f"h.{n}.ln1.bias", 4))
        net.step("MatMul", net.weight(f"h.{n}.second.weight", 4, 4))
        net.step("Add", middle)
        net.step("LayerNormalization", net.weight(f"h.{n}.ln2.weight", 4), net.weight(f"h.{n}.ln2.bias", 4))
    net.nodes[-1].output[0] = "y"
    proto = model(net.nodes, {"x": (FLOAT, ["batch", 4])}, ["y"], net.weights, opset=20)
    source = assert_agrees(proto, {"x": RANDOM.normal(size=(3, 4))}).source
    assert source.count("def ") == 1 and "|> h_0 |> h_1 |> h_2" in source


def test_what_is_not_worth_a_def_or_differs_stays_as_it_is() -> None:
    """One layer and a function, again and again; another activation."""
    plain = Net()
    for n in range(4):
        plain.step("MatMul", plain.weight(f"fc{n}.weight", 3, 3))
        plain.step("Relu")
    assert "def " not in plain.agrees((2, 3))
    mixed = Net()
    for n, function in enumerate(("Relu", "Tanh")):
        mixed.conv(f"a{n}", 2, 2)
        mixed.step(function)
        mixed.conv(f"b{n}", 2, 2)
        mixed.step("Sigmoid")
    assert "def " not in mixed.agrees((2, 2, 4, 4))


def test_tensors_that_instances_share() -> None:
    """A kernel that two of them have in common is given to both; one with the same tensors is applied again."""
    net = Net()
    kernel = net.weight("common.weight", 2, 2, 3, 3)
    for n in range(2):
        net.step("Conv", kernel, pads=[1] * 4)
        net.step("Relu")
        net.conv(f"other{n}", 2, 2)
        net.step("Tanh")
    for each in net.nodes[:4]:
        net.step(each.op_type, *list(each.input)[1:], **({"pads": [1] * 4} if each.op_type == "Conv" else {}))
    source = net.agrees((2, 2, 4, 4), tensors=6)
    assert source.count("def ") == 1 and source.count("= block()") == 2
    assert "|> part1 |> part2 |> part1" in source


@pytest.mark.parametrize("entry", ["in1", "table", "perm_0", "fc1"])
@pytest.mark.parametrize("called", ["perm.0", "const_1", "x", "fc1.weight"])
def test_a_table_inside_a_def_is_called_like_nothing_outside_or_inside(entry: str, called: str) -> None:
    """It stands before the `def`, among the inputs and outputs."""
    weights: dict[str, Any] = {called: RANDOM.permutation(10)}
    nodes, at = [], entry
    for step in range(3):
        for part in ("fc1", "fc2"):
            weights[f"blk{step}.{part}.weight"] = RANDOM.normal(size=(10, 10)) * 0.3
        nodes += [
            node("MatMul", [at, f"blk{step}.fc1.weight"], [f"a{step}"]),
            node("Gather", [f"a{step}", called], [f"b{step}"], axis=1),
            node("MatMul", [f"b{step}", f"blk{step}.fc2.weight"], [f"c{step}"]),
            node("Relu", [f"c{step}"], [f"d{step}"]),
            node("Add", [f"d{step}", at], [f"e{step}"]),
        ]
        at = f"e{step}"
    nodes.append(node("Gather", [at, called], ["table2"], axis=1))
    proto = model(nodes, {entry: (FLOAT, [2, 10])}, ["table2"], weights)
    assert "def block" in assert_agrees(proto, {entry: RANDOM.normal(size=(2, 10))}).source


def test_what_flows_into_a_def_is_called_like_no_size() -> None:
    net = Net()
    for step in range(2):
        before = net.at
        net.step("MatMul", net.weight(f"blk{step}.fc1.weight", 6, 6))
        net.step("Relu")
        net.step("MatMul", net.weight(f"blk{step}.fc2.weight", 6, 6))
        net.step("Add", before)
    net.nodes[-1].output[0] = "y"
    proto = model(net.nodes, {"x": (FLOAT, ["batch", "x", 6])}, ["y"], net.weights)
    program = assert_agrees(proto, {"x": RANDOM.normal(size=(2, 4, 6))}, imported(proto, dims={"x": 4}))
    assert "dim  x     = 4" in program.source and "def block" in program.source
