"""The variants of the kernels, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpc_runtime import kernels


@pytest.fixture(params=kernels.variants())
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test with each variant that this machine has."""
    before = kernels.variant()
    kernels.set_variant(request.param)
    yield request.param
    kernels.set_variant(before)
