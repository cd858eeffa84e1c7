"""What the tests of the examples share: MNIST, where this machine has it."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def mnist():
    """The held-out images and labels of MNIST, or a skip that says where they were looked for."""
    from examples.lenet import mnist

    try:
        images, labels = mnist.load()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    return images[mnist.TRAINED_ON :], labels[mnist.TRAINED_ON :]
