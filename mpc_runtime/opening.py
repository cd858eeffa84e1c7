"""How sessions begin: with processes on this machine, or with servers that are running."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .deployment.local import SeenBy
from .limits import TIMEOUT_SECONDS, WAIT_SECONDS, WINDOW_BYTES
from .plan import Plan
from .roles.client import Prepare
from .session import Session
from .sessions.connections import Connections
from .sessions.deployed import Deployment, launched, linked
from .sessions.turns import Turns
from .sessions.variants import Variants
from .sessions.work import Prove
from .store.report import holds_parameters

__all__ = ["connect_plan", "launch_plan"]

Variant = Callable[[int], Plan | None]


def launch_plan(
    plan: Plan,
    prepare: Prepare,
    *,
    timeout: float = TIMEOUT_SECONDS,
    window: int = WINDOW_BYTES,
    seen_by: SeenBy = lambda _, addresses: addresses,
    variant: Variant | None = None,
    prove: Prove = lambda params: None,
    material: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
) -> Session:
    """Starts a dealer and both parties as processes on this machine, and a session that plays all roles of the plan.

    timeout: seconds that a machine may take to answer (ten times as many while it computes). window: bytes of material
    that the dealer may be ahead of each party. seen_by: as of `Processes`. variant: as `compile` of `Variants`.
    prove: as of `Work`.
    material: the folder of both parties' stores, which are for this plan only; then there is no dealer.
    data: the folder of what the servers keep beyond the session.
    Raises PeerError when a process does not start, MaterialError when the stores do not fit.
    """
    turns = Turns()
    kept = Path(data) if data is not None else None
    if material is not None:
        folder = Path(material)
        stored = launched(plan, prepare, timeout, window, seen_by, turns.check, folder, kept)
        return Session(Connections(turns, Variants(stored)), holds_parameters(folder, plan), prove)

    def start(plan: Plan) -> Deployment:
        return launched(plan, prepare, timeout, window, seen_by, turns.check, None, kept)

    return Session(Connections(turns, Variants(start(plan), variant, start, turns.check)), prove=prove)


def connect_plan(
    cluster: str | Path,
    plan: Plan,
    prepare: Prepare,
    *,
    role: str,
    key: str | os.PathLike[str] | None = None,
    timeout: float = TIMEOUT_SECONDS,
    wait: float = WAIT_SECONDS,
    retries: int = 0,
    variant: Variant | None = None,
    prove: Prove = lambda params: None,
) -> Session:
    """A session for one role of servers that are running: those of a cluster.toml. key: the role's secret key file
    (`ROLE.key` beside the cluster.toml if none is given). wait: seconds that the other roles of a run may take.
    retries: how often in a row a call connects anew and submits again when a server was lost. variant: as `compile` of
    `Variants`. prove: as of `Work`."""
    turns = Turns(max(wait, WAIT_SECONDS))
    deployment = linked(cluster, plan, prepare, role, key, timeout, wait, turns.check, retries)
    return Session(Connections(turns, Variants(deployment, variant, None, turns.check)), prove=prove)
