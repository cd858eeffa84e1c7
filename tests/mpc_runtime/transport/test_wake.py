"""Whoever is woken sees all that was there when it was rung: however two threads meet, no ring is lost."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any

import pytest

from mpc_runtime.transport.guests import Wake


def rung(wake: Wake) -> bool:
    poller = select.poll()
    poller.register(wake.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def test_who_has_not_looked_is_rung_for_once() -> None:
    wake = Wake()
    for _ in range(3):
        wake.set()
        wake.set()
        assert rung(wake)
        wake.clear()
        assert not rung(wake)
    wake.close()


@pytest.mark.parametrize("early", [True, False])
def test_a_ring_in_the_middle_of_clearing_costs_no_later_one(monkeypatch: pytest.MonkeyPatch, early: bool) -> None:
    meanwhile: list[Callable[[], None]] = []

    class Near(socket.socket):
        def recv(self, *args: Any) -> bytes:
            for ring in meanwhile if early else ():
                ring()
            data = super().recv(*args)
            for ring in meanwhile if not early else ():
                ring()
            return data

    near, far = socket.socketpair()
    pair = Near(near.family, near.type, near.proto, near.detach()), far
    monkeypatch.setattr(socket, "socketpair", lambda: pair)
    wake = Wake()
    meanwhile.append(wake.set)
    wake.set()
    wake.clear()
    wake.set()
    assert rung(wake)
    wake.close()
