"""Train a small image classifier in plain NumPy and save its weights under PyTorch's names.

This is ordinary machine learning on data that its owner may see; nothing here is private and nothing of it is needed to
run a model. The training scripts of the digits, LeNet and seeds examples share it. Anybody who has PyTorch uses that
instead: `safetensors.torch.save_file(net.state_dict(), "weights.safetensors")` gives the same keys and shapes.

A layer keeps what its backward pass needs from the forward pass before it, so a layer object serves one network.
Convolutions are a matrix product over extracted patches (im2col). Adam is Kingma and Ba, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[np.float32]


class Layer(Protocol):
    """One step of a network. `params` and `grads` have the same keys; both are empty for a layer without weights."""

    params: dict[str, Array]
    grads: dict[str, Array]

    def forward(self, x: Array) -> Array: ...
    def backward(self, dy: Array) -> Array: ...


class Conv2d:
    """`kernel` x `kernel` convolution with stride 1 on `[n, channels, h, w]`, PyTorch's weight `[out, in, k, k]`."""

    def __init__(self, channels: int, out: int, kernel: int, padding: int, rng: np.random.Generator) -> None:
        bound = np.sqrt(3.0 / (channels * kernel * kernel))
        weight = rng.uniform(-bound, bound, (out, channels, kernel, kernel)).astype(np.float32)
        self.kernel, self.padding = kernel, padding
        self.params = {"weight": weight, "bias": np.zeros(out, np.float32)}
        self.grads: dict[str, Array] = {}

    def forward(self, x: Array) -> Array:
        p = self.padding
        x = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)])
        windows = sliding_window_view(x, (self.kernel, self.kernel), axis=(2, 3))
        n, _, h, w = windows.shape[:4]
        self.padded, self.patches = x.shape, windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, -1)
        weight = self.params["weight"].reshape(len(self.params["bias"]), -1)
        y = self.patches @ weight.T + self.params["bias"]
        return y.reshape(n, h, w, -1).transpose(0, 3, 1, 2)

    def backward(self, dy: Array) -> Array:
        n, out, h, w = dy.shape
        rows = dy.transpose(0, 2, 3, 1).reshape(-1, out)
        weight = self.params["weight"]
        self.grads = {"weight": (rows.T @ self.patches).reshape(weight.shape), "bias": rows.sum(axis=0)}
        patches = (rows @ weight.reshape(out, -1)).reshape(n, h, w, -1, self.kernel, self.kernel)
        dx = np.zeros(self.padded, np.float32)
        for i in range(self.kernel):
            for j in range(self.kernel):
                dx[:, :, i : i + h, j : j + w] += patches[..., i, j].transpose(0, 3, 1, 2)
        p = self.padding
        return dx[:, :, p : dx.shape[2] - p, p : dx.shape[3] - p]


class Dense:
    """`x @ weight.T + bias` on `[n, features]`, PyTorch's weight `[units, features]`."""

    def __init__(self, features: int, units: int, rng: np.random.Generator) -> None:
        bound = np.sqrt(3.0 / features)
        weight = rng.uniform(-bound, bound, (units, features)).astype(np.float32)
        self.params = {"weight": weight, "bias": np.zeros(units, np.float32)}
        self.grads: dict[str, Array] = {}

    def forward(self, x: Array) -> Array:
        self.x = x
        return x @ self.params["weight"].T + self.params["bias"]

    def backward(self, dy: Array) -> Array:
        self.grads = {"weight": dy.T @ self.x, "bias": dy.sum(axis=0)}
        return dy @ self.params["weight"]


@dataclass
class _Plain:
    """A layer without weights."""

    params: dict[str, Array] = field(default_factory=dict)
    grads: dict[str, Array] = field(default_factory=dict)


class Relu(_Plain):
    def forward(self, x: Array) -> Array:
        self.positive = x > 0
        return x * self.positive

    def backward(self, dy: Array) -> Array:
        return dy * self.positive


class Sigmoid(_Plain):
    def forward(self, x: Array) -> Array:
        self.y = (0.5 * (np.tanh(0.5 * x) + 1)).astype(np.float32)
        return self.y

    def backward(self, dy: Array) -> Array:
        return dy * self.y * (1 - self.y)


class MaxPool2(_Plain):
    """2x2 max pooling; the gradient of equal maxima is divided among them."""

    def forward(self, x: Array) -> Array:
        n, c, h, w = x.shape
        tiles = x.reshape(n, c, h // 2, 2, w // 2, 2)
        y = tiles.max(axis=(3, 5))
        self.chosen = tiles == y[:, :, :, None, :, None]
        return y

    def backward(self, dy: Array) -> Array:
        part = dy / self.chosen.sum(axis=(3, 5))
        n, c, h, w = dy.shape
        return (self.chosen * part[:, :, :, None, :, None]).reshape(n, c, 2 * h, 2 * w).astype(np.float32)


class AvgPool2(_Plain):
    """2x2 average pooling."""

    def forward(self, x: Array) -> Array:
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5))

    def backward(self, dy: Array) -> Array:
        return dy.repeat(2, axis=2).repeat(2, axis=3) / 4


class Flatten(_Plain):
    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array:
        return dy.reshape(self.shape)


@dataclass(frozen=True)
class Network:
    """Layers in order, by the names that they have in the `.ppml` file."""

    layers: dict[str, Layer]

    def logits(self, x: Array) -> Array:
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def accuracy(self, x: Array, labels: NDArray[np.int64], batch: int = 200) -> float:
        """The share of rows, 0 to 1, whose largest logit is the label's."""
        right = sum(
            int((self.logits(x[i : i + batch]).argmax(axis=1) == labels[i : i + batch]).sum())
            for i in range(0, len(x), batch)
        )
        return right / len(x)

    def weights(self) -> dict[str, Array]:
        """Every parameter under PyTorch's key, `layer.weight` or `layer.bias`."""
        return {f"{name}.{key}": value for name, layer in self.layers.items() for key, value in layer.params.items()}

    def save(self, path: Path) -> None:
        weights = self.weights()
        save_file({key: np.ascontiguousarray(value) for key, value in weights.items()}, str(path))
        widest = max(float(abs(value).max()) for value in weights.values())
        count = sum(value.size for value in weights.values())
        print(f"{path.name}: {count} parameters, all within [-{widest:.3f}, {widest:.3f}]")


def train(
    network: Network,
    images: Array,
    labels: NDArray[np.int64],
    *,
    epochs: int,
    rng: np.random.Generator,
    rate: float = 2e-3,
    batch: int = 50,
    bound: float = 1.0,
    decay: float = 0.0,
) -> None:
    """Minimise softmax cross-entropy with Adam; the rate falls to zero along a cosine.

    After each step every parameter is clipped to [-bound, bound], so that the range which the `.ppml` file declares for
    the weights is true by construction: the narrower the range, the cheaper the private comparisons. `decay` pulls
    weights towards 0 (AdamW's).
    """
    moments = {name: {k: (np.zeros_like(v), np.zeros_like(v)) for k, v in layer.params.items()}
               for name, layer in network.layers.items()}  # fmt: skip
    steps, step = epochs * (len(images) // batch), 0
    for epoch in range(epochs):
        order, total = rng.permutation(len(images)), 0.0
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start : start + batch]
            logits = network.logits(images[rows])
            shifted = logits - logits.max(axis=1, keepdims=True)
            log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            total -= float(log_p[np.arange(batch), labels[rows]].sum())
            gradient = np.exp(log_p)
            gradient[np.arange(batch), labels[rows]] -= 1
            gradient /= batch
            for layer in reversed(network.layers.values()):
                gradient = layer.backward(gradient)
            step += 1
            _adam(network, moments, step, rate * 0.5 * (1 + np.cos(np.pi * step / steps)), bound, decay)
        print(f"epoch {epoch + 1:2d} of {epochs}: loss {total / (start + batch):.4f}", flush=True)


def _adam(network: Network, moments, step: int, rate: float, bound: float, decay: float) -> None:
    for name, layer in network.layers.items():
        for key, value in layer.params.items():
            m, v = moments[name][key]
            g = layer.grads[key]
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            update = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
            value -= rate * (update + decay * value)
            np.clip(value, -bound, bound, out=value)
