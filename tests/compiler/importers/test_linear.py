"""Products of every form: what is added to a matrix product, and transposed convolutions whose sides differ."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_models import FLOAT, assert_agrees, imported, model, node, reference_results, runtime_results

RANDOM = np.random.default_rng(13)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 0.5, shape).astype(np.float32)


def gemm(addend: np.ndarray, units: int = 3, **options):
    product = node("Gemm", ["x", "w", "c"], ["y"], transB=1, **options)
    return model([product], {"x": (FLOAT, [3, 4])}, ["y"], {"w": normal(units, 4), "c": addend})


@pytest.mark.parametrize("shape", [(3, 1), (3, 3), (1, 1), (1, 3), (3,), (1,), ()], ids=str)
def test_an_addend_is_broadcast_as_its_shape_says(shape):
    """As many rows as units: a column differs from a row."""
    assert_agrees(gemm(normal(*shape), beta=2.0), {"x": normal(3, 4)})


@pytest.mark.parametrize("shape", [(3, 1), (1, 1), (1,)], ids=str)
def test_an_addend_of_one_unit(shape):
    assert_agrees(gemm(normal(*shape), units=1, alpha=0.5), {"x": normal(3, 4)})


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3)], ids=str)
def test_an_addend_that_is_one_row_is_the_layers_bias(shape):
    assert any(name.endswith(".bias") for name in imported(gemm(normal(*shape))).weights)


def transposed(axes: int, **options):
    weights = {"w": normal(2, 3, *[3] * axes), "b": normal(3) + 3}
    return model([node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2] * axes, **options)],
                 {"x": (FLOAT, [1, 2, *[4] * axes])}, ["y"], weights)  # fmt: skip


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("pads", [(1, 0), (0, 1), (1, 2), (2, 1)], ids=str)
def test_the_bias_is_added_to_what_output_padding_adds(pads, extra):
    """The two sides differ, so that part of the result is cut off behind the layer."""
    before, behind = pads
    assert_agrees(transposed(1, pads=[before, behind], output_padding=[extra]), {"x": normal(1, 2, 4)})
    proto = transposed(2, pads=[before, 1, behind, 0], output_padding=[extra, 1])
    assert_agrees(proto, {"x": normal(1, 2, 4, 4)})


@pytest.mark.parametrize("options", [{"output_shape": [8, 10]}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}])
def test_a_transposed_convolution_of_a_given_size(options):
    assert_agrees(transposed(2, output_padding=[0, 1], **options), {"x": normal(1, 2, 4, 4)})


def test_transposed_padding_below_0_is_refused():
    with pytest.raises(Exception, match="padding is below 0"):
        imported(transposed(1, pads=[-1, 0]))


def one_row(after: str, *outputs: str):
    given = {"coefficients": [0.5, -0.3], "intercepts": [0.1], "classlabels_ints": [3, 7], "post_transform": after}
    made = node("LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", **given)
    return model([made], {"x": (FLOAT, ["batch", 2])}, outputs, ml=3)


def test_one_row_of_coefficients_for_two_classes():
    """Without LOGISTIC, onnxruntime and ONNX's own evaluator agree on the label only."""
    x = normal(5, 2)
    assert_agrees(one_row("LOGISTIC", "label", "scores"), {"x": x})
    for after in ("NONE", "SOFTMAX"):
        proto = one_row(after, "label", "scores")
        mine, theirs = runtime_results(proto, {"x": x}), reference_results(proto, {"x": x})
        assert (mine[0] == theirs[0]).all() and not np.allclose(mine[1], theirs[1])
        assert_agrees(one_row(after, "label"), {"x": x})
        with pytest.raises(Exception, match=f"(?s)scores with {after} of one row .* export with LOGISTIC"):
            imported(proto)
