"""Plans with gates that break the rules can be loaded in the tests that ask for it."""

from __future__ import annotations

import pytest

from mpc_runtime.gates import GATES
from tests.security import broken


@pytest.fixture
def broken_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in broken.GATES:
        monkeypatch.setitem(GATES, cls.__name__, cls)
