"""The trainer and the data of the examples, against finite differences, scikit-learn and the declared ranges."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import examples
from examples.lenet import mnist
from examples.seeds.photos import SIZE, VARIETIES, draw
from examples.training import AvgPool2, Conv2d, Dense, Flatten, MaxPool2, Network, Relu, Sigmoid

FOLDER = Path(examples.__file__).parent
MODELS = ("digits", "lenet", "seeds", "cancer", "diabetes")


@pytest.mark.parametrize(
    "layer",
    [
        Conv2d(2, 3, kernel=3, padding=1, rng=np.random.default_rng(0)),
        Conv2d(2, 3, kernel=3, padding=0, rng=np.random.default_rng(0)),
        MaxPool2(), AvgPool2(), Relu(), Sigmoid(), Flatten(),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_the_gradient_of_a_layer_is_its_slope(layer):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 2, 4, 4))
    dy = rng.normal(size=layer.forward(x).shape)
    layer.forward(x)
    dx = layer.backward(dy)
    for index in [(0, 0, 0, 0), (1, 1, 3, 3), (0, 1, 2, 1)]:
        step = np.zeros_like(x)
        step[index] = 1e-4
        slope = ((layer.forward(x + step) - layer.forward(x - step)) * dy).sum() / 2e-4
        assert dx[index] == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(Dense(5, 3, np.random.default_rng(0)), (4, 5)), (Conv2d(2, 3, 3, 1, np.random.default_rng(0)), (2, 2, 4, 4))],
    ids=["Dense", "Conv2d"],
)
def test_the_gradient_of_the_weights_is_their_slope(layer, shape):
    rng = np.random.default_rng(2)
    x = rng.normal(size=shape)
    dy = rng.normal(size=layer.forward(x).shape)
    layer.backward(dy)
    for key, value in layer.params.items():
        layer.params[key] = value = value.astype(np.float64)
        index = (0,) * value.ndim
        before = value[index]
        value[index] = before + 1e-4
        up = layer.forward(x)
        value[index] = before - 1e-4
        down = layer.forward(x)
        value[index] = before
        assert layer.grads[key][index] == pytest.approx(((up - down) * dy).sum() / 2e-4, rel=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_lie_in_the_range_that_the_model_declares(name):
    source = (FOLDER / name / f"{name}.ppml").read_text()
    declared = re.findall(r"^(?:weights|param +(\w)).*in \[(-?[\d.]+), (-?[\d.]+)\]", source, re.MULTILINE)
    ranges = {key: (float(lo), float(hi)) for key, lo, hi in declared}
    for key, value in load_file(FOLDER / name / f"{name}.safetensors").items():
        lo, hi = ranges.get(key) or ranges[""]
        assert lo <= value.min() and value.max() <= hi, key


def test_the_held_out_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    ours, theirs = np.load(FOLDER / "digits" / "digits.npz"), datasets.load_digits()
    known = {image.astype(np.uint8).tobytes(): label for image, label in zip(theirs.images, theirs.target, strict=True)}
    assert [known[image.tobytes()] for image in ours["image"]] == ours["label"].tolist()
    assert ours["image"].max() == ours["levels"]


def test_photographs_of_seeds_are_images():
    photos, labels = draw(50, np.random.default_rng(0))
    assert photos.shape == (50, 3, SIZE, SIZE) and photos.dtype == np.float32
    assert photos.min() >= 0 and photos.max() <= 1
    assert set(labels) == set(range(len(VARIETIES)))


def test_the_seeds_network_learned_to_tell_varieties_apart():
    weights = load_file(FOLDER / "seeds" / "seeds.safetensors")
    rng = np.random.default_rng(0)
    layers = {
        "conv1": Conv2d(3, 32, 3, 1, rng), "s1": Sigmoid(), "p1": AvgPool2(),
        "conv2": Conv2d(32, 32, 3, 1, rng), "s2": Sigmoid(), "p2": AvgPool2(), "flatten": Flatten(),
        "fc1": Dense(512, 128, rng), "s3": Sigmoid(), "fc2": Dense(128, 5, rng),
    }  # fmt: skip
    for key, value in weights.items():
        name, parameter = key.split(".")
        assert layers[name].params[parameter].shape == value.shape
        layers[name].params[parameter] = value
    assert Network(layers).accuracy(*draw(200, np.random.default_rng(7))) > 0.85


def test_an_idx_file_is_read_packed_or_not(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    data = bytes([0, 0, 8, 3]) + np.array(pixels.shape, ">u4").tobytes() + pixels.tobytes()
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(data))
    assert np.array_equal(mnist.read_idx(tmp_path, "plain"), pixels)
    assert np.array_equal(mnist.read_idx(tmp_path, "packed"), pixels)


def test_a_missing_or_foreign_idx_file_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="MPC_MNIST"):
        mnist.load(tmp_path)
    (tmp_path / "floats").write_bytes(bytes([0, 0, 0x0D, 1, 0, 0, 0, 0]))
    with pytest.raises(ValueError, match="unsigned bytes"):
        mnist.read_idx(tmp_path, "floats")
