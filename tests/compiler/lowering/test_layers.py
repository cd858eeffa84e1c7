"""Layers: keys as PyTorch writes them, sizes from the first application, sharing. Truth: a state_dict, NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.graph import Param, Visibility
from compiler.graph.interval import Interval
from tests.compiler.lowered import errors, graph, keys, output, run


def test_shapes_of_every_layer() -> None:
    model = graph(
        """
        input image : [2, 3, 9, 9] from client
        layer conv = conv2d(8, 3, stride=2, padding=1)
        layer wide = conv2d(6, kernel=[1, 3], groups=2, bias=false, padding="same")
        layer norm = batchnorm()
        layer fc = dense(10)
        layer last = dense(4, bias=false)
        weights from modeller
        h = image |> conv |> wide |> norm |> relu
        output y = h |> flatten |> fc |> last to client
        """
    )
    assert list(keys(model).items()) == [
        ("conv.weight", (8, 3, 3, 3)),
        ("conv.bias", (8,)),
        ("wide.weight", (6, 4, 1, 3)),
        ("norm.weight", (6,)),
        ("norm.bias", (6,)),
        ("norm.running_mean", (6,)),
        ("norm.running_var", (6,)),
        ("fc.weight", (10, 6 * 5 * 5)),
        ("fc.bias", (10,)),
        ("last.weight", (4, 10)),
    ]
    assert model.outputs[0].value.shape == (2, 4)


def test_dense_on_positions() -> None:
    model = graph(
        "input x : [2, 5, 7] from client layer fc = dense(3) weights from modeller output y = x |> fc to client"
    )
    assert keys(model) == {"fc.weight": (3, 7), "fc.bias": (3,)}
    assert model.outputs[0].value.shape == (2, 5, 3)


def test_paths_of_nested_definitions() -> None:
    model = graph(
        """
        def unit(x, n, stride=1) {
            layer conv1 = conv2d(n, 3, stride=stride, padding=1, bias=false)
            layer bn1 = batchnorm()
            return x |> conv1 |> bn1 |> relu
        }
        def stage(x, n) {
            layer down = unit(n, stride=2)
            x = x |> down
            for i in 0..2 {
                layer block[i] = unit(n)
                x = x + (x |> block[i])
            }
            return x
        }
        input image : [1, 3, 8, 8] from client
        h = image
        for i in 0..2 {
            layer layer_[i] = stage(4 * (i + 1))
            h = h |> layer_[i]
        }
        layer fc = dense(10)
        weights from modeller
        output y = h |> global_avgpool2d |> flatten |> fc to client
        """
    )
    found = keys(model)
    assert found["layer_.0.down.conv1.weight"] == (4, 3, 3, 3)
    assert found["layer_.1.down.conv1.weight"] == (8, 4, 3, 3)
    assert found["layer_.1.block.1.bn1.running_var"] == (8,)
    assert found["fc.weight"] == (10, 8)
    assert len(found) == 2 * 3 * 5 + 2
    assert next(iter(found)) == "layer_.0.down.conv1.weight"


def test_a_layer_applied_twice_shares_its_parameters() -> None:
    body = """
        def twin(x) { layer fc = dense(3, bias=false) return x |> fc }
        input a : [1, 4] from client input b : [1, 4] from client
        layer net = twin()
        weights from modeller
        output y = (a |> net) - net(b) to client
    """
    assert keys(graph(body)) == {"net.fc.weight": (3, 4)}
    random = np.random.default_rng(1)
    a, b, w = random.normal(size=(1, 4)), random.normal(size=(1, 4)), random.normal(size=(3, 4))
    result = run(body, {"a": a, "b": b}, {"net.fc.weight": w})["y"]
    np.testing.assert_allclose(result, (a - b) @ w.T)


def test_parameters_are_values_below_the_first_application() -> None:
    body = """
        def f(x) { layer fc = dense(4) return x |> fc }
        input x : [2, 4] from client
        layer embed = dense(4, bias=false)
        layer block[0] = f()
        weights from modeller
        h = x |> embed |> block[0]
        output y = h @ transpose(embed.weight) + block[0].fc.bias to client
        output n = block[0].fc.weight.shape[0] to client
    """
    random = np.random.default_rng(2)
    x, e, w, c = random.normal(size=(2, 4)), *(random.normal(size=s) for s in [(4, 4), (4, 4), (4,)])
    results = run(body, {"x": x}, {"embed.weight": e, "block.0.fc.weight": w, "block.0.fc.bias": c})
    np.testing.assert_allclose(results["y"], (x @ e.T @ w.T + c) @ e.T + c)
    assert results["n"] == 4


def test_batchnorm_means_what_pytorch_means() -> None:
    body = """
        input x : [2, 3, 2, 2] from client layer bn = batchnorm(eps=0.1) weights from modeller
        output y = x |> bn to client
    """
    random = np.random.default_rng(3)
    x = random.normal(size=(2, 3, 2, 2))
    weight, bias, mean = random.normal(size=(3, 3))
    var = random.uniform(0.5, 2, size=3)
    params = {"bn.weight": weight, "bn.bias": bias, "bn.running_mean": mean, "bn.running_var": var}
    expected = (x - mean[:, None, None]) / np.sqrt(var + 0.1)[:, None, None]
    expected = expected * weight[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(run(body, {"x": x}, params)["y"], expected)


def test_weights_give_owner_range_and_visibility_anywhere_in_the_file() -> None:
    model = graph(
        """
        weights b from client public in [-bound, bound]
        weights from modeller in [-1, 1]
        const bound = 1 / 2
        input x : [1, 4] from client
        layer a = dense(4)
        layer b = dense(4)
        layer c[0] = batchnorm()
        output y = x |> a |> b |> c[0] to client
        """
    )
    leaves = {leaf.op.key: leaf for leaf in model.params if isinstance(leaf.op, Param)}
    assert (leaves["a.weight"].op.role, leaves["a.weight"].range) == ("modeller", Interval(-1, 1))
    assert (leaves["b.bias"].op.role, leaves["b.bias"].range) == ("client", Interval(-0.5, 0.5))
    assert leaves["b.bias"].visibility is Visibility.PUBLIC
    assert leaves["a.bias"].visibility is Visibility.SECRET
    assert leaves["c.0.running_var"].declared is None
    assert model.outputs[0].value.owners == {"client", "modeller"}


def test_weights_from_one_member() -> None:
    model = graph(
        "role lab[3] input x : [1, 4] from client layer a = dense(4) weights a from lab[1] output y = a(x) to client"
    )
    assert {leaf.op.role for leaf in model.params} == {"lab[1]"}


def test_instance_binds_in_order_or_by_name_and_the_application_supplies_the_rest() -> None:
    body = """
        def f(x, n, scale=2, shift=0) { layer fc = dense(n, bias=false) return fc(x) * scale + shift }
        input x : [1, 2] from client
        layer a = f(2)
        layer b = f(scale=3, n=2)
        layer c = f(shift=5)
        weights from modeller
        output ya = x |> a to client
        output yb = x |> b(7) to client
        output yc = x |> c(2, scale=4) to client
    """
    x = np.array([[1.0, 2.0]])
    eye = {f"{name}.fc.weight": np.eye(2) for name in "abc"}
    results = run(body, {"x": x}, eye)
    np.testing.assert_allclose(results["ya"], x * 2)
    np.testing.assert_allclose(results["yb"], x * 3 + 7)
    np.testing.assert_allclose(results["yc"], x * 4 + 5)


def test_layers_may_be_named_like_kinds_of_layers() -> None:
    model = graph(
        "input x : [1, 2] from client layer dense = dense(3) layer d2 = dense(4) weights from modeller "
        "output y = x |> dense |> d2 to client"
    )
    assert keys(model)["dense.weight"] == (3, 2) and keys(model)["d2.weight"] == (4, 3)


def test_sizes_of_a_definition_may_come_from_its_input() -> None:
    body = """
        def residual(x) {
            layer fc = dense(x.shape[1])
            return x + fc(x)
        }
        input x : [1, 6] from client layer r = residual() weights from modeller
        output y = x |> r |> r to client
    """
    assert keys(graph(body)) == {"r.fc.weight": (6, 6), "r.fc.bias": (6,)}


def test_a_shared_block_cannot_change_its_layers() -> None:
    (error,) = errors(
        """
        def f(x) { layer fc = dense(x.shape[0]) return fc(x) }
        input x : [1, 4] from client input z : [2, 4] from client layer g = f() weights from modeller
        output y = g(x) to client
        output t = g(z) to client
        """
    )
    assert "declared again with other arguments" in error.message and error.line == 2
    assert error.notes[-1][0].line == 5


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        ("conv2d(4, 3)", 6),
        ("conv2d(4, 3, padding=1)", 8),
        ("conv2d(4, 3, stride=2)", 3),
        ("conv2d(4, 3, dilation=2)", 4),
        ('conv2d(4, 4, padding="same")', 8),
        ("conv2d(4, kernel=1, groups=2)", 8),
        ("conv2d(4, 3, 3, 2)", 4),
    ],
)
def test_convolution_sizes(layer: str, size: int) -> None:
    value = output(
        f"input x : [1, 2, 8, 8] from client layer c = {layer} weights from modeller output y = x |> c to client"
    )
    assert value.shape == (1, 4, size, size)


def test_a_definition_may_be_passed_a_layer() -> None:
    body = """
        def twice(x, f) { return x |> f |> f }
        input x : [1, 2] from client layer fc = dense(2, bias=false) layer g[1] = dense(2, bias=false)
        weights from modeller
        output y = x |> twice(fc) |> twice(f=g[1]) to client
    """
    x, a, b = np.array([[1.0, 2.0]]), np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.0, 1.0], [1.0, 1.0]])
    result = run(body, {"x": x}, {"fc.weight": a, "g.1.weight": b})["y"]
    np.testing.assert_allclose(result, x @ a.T @ a.T @ b.T @ b.T)
