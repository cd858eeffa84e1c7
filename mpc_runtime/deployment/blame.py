"""Which machine is at fault when one is lost: one error that says which died, how, and at which op.

A machine that is lost takes others with it, so several errors reach a session. A party that outlived the dead one knows
at which op it was missed; the parent of local processes knows which of them was killed, and their last words.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from ..errors import MaterialError, PeerError
from ..roles.client import RoleClient
from ..transport.call import GLANCE_SECONDS, Call, drive
from .local import Processes

__all__ = ["best_witness"]

FAREWELL_SECONDS = 2.0  # for the survivors to say at which op another machine was missed
EXIT_SECONDS = 0.5  # for a process that is dying to end


def best_witness(
    error: PeerError, clients: Iterable[RoleClient], processes: Processes | None
) -> PeerError | MaterialError:
    """The best report of the failure behind `error`, after a moment in which the clients' servers can add theirs."""
    calls = [call for client in clients for call in client.calls.values()]
    witnesses = _witnesses(error, calls)
    best = next((w for w in witnesses if w.op), witnesses[-1])
    deaths = processes.deaths(EXIT_SECONDS, best.peer) if processes else []
    killed = next((death for death in deaths if death.killed), None)
    if killed is not None:
        best = next((w for w in witnesses if w.op and w.peer == killed.name), witnesses[-1])
        how = f"{killed.name} {killed.how}"
        return PeerError(str(best) if how in str(best) else f"{best}\n{how}", killed.name, best.op)
    if (fault := _own_word(best.peer, calls)) is not None:
        return MaterialError(str(fault))
    words = next((d.words for d in deaths if d.name == best.peer and str(best) not in d.words), "")
    return PeerError(f"{best}\n{words}" if words else str(best), best.peer, best.op)


def _own_word(machine: str, calls: list[Call]) -> MaterialError | None:
    """What the machine that others miss has said of its material before it ended: they may have been heard first."""
    until, own = time.monotonic() + EXIT_SECONDS, [call for call in calls if call.name == machine]
    while any(call.failure is None for call in own) and time.monotonic() < until:
        drive(calls, GLANCE_SECONDS)
    return next((call.failure for call in own if isinstance(call.failure, MaterialError)), None)


def _witnesses(error: PeerError, calls: list[Call]) -> list[PeerError]:
    """The error and what the servers say in `FAREWELL_SECONDS`, or until one of them names an op."""
    until = time.monotonic() + FAREWELL_SECONDS
    witnesses = [error]
    while not any(w.op for w in witnesses) and time.monotonic() < until:
        failures = [call.failure for call in calls if isinstance(call.failure, PeerError)]
        heard = [failure for failure in failures if failure not in witnesses]
        witnesses += heard
        if not heard:
            drive(calls, GLANCE_SECONDS)
    return witnesses
