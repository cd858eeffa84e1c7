"""Whoever is woken sees all that was there when it was rung: however two threads meet, no ring is lost."""

from __future__ import annotations

import select
import threading

from mpc_runtime.transport.guests import Wake
from tests.waiting import SECONDS

RINGS = 20_000


def test_no_ring_is_lost() -> None:
    wake, put, seen = Wake(), [0], 0

    def ring() -> None:
        for _ in range(RINGS):
            put[0] += 1
            wake.set()

    ringing = threading.Thread(target=ring)
    poller = select.poll()
    poller.register(wake, select.POLLIN)
    ringing.start()
    while seen < RINGS:
        assert poller.poll(1000 * SECONDS), f"{put[0]} of {RINGS} were put, {seen} were seen"
        wake.clear()
        seen = put[0]
    ringing.join()
    wake.close()


def test_who_has_not_looked_is_rung_for_once() -> None:
    wake = Wake()
    poller = select.poll()
    poller.register(wake, select.POLLIN)
    for _ in range(3):
        wake.set()
        wake.set()
        assert poller.poll(0)
        wake.clear()
        assert not poller.poll(0)
    wake.close()
