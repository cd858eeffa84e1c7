"""What a submission spends of its owner's dataset, at one party: entered in the privacy ledger before it can run.

The plan says what an execution releases of a role's data. A submission is charged when it arrives, which is before
anything runs, and is given back if it is dropped before its run begins; what has begun is spent, however it ends. Each
party keeps a ledger of its own, so neither has to believe the other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..analysis.releases import Lineage, is_private, is_private_in, tensors_in
from ..errors import InputError
from ..plan import Noise, Plan
from ..privacy.accountant import Event, counted_rows
from ..privacy.ledger import Charge, Dataset, Ledger, Limit, Spent
from ..privacy.noise import gaussian_multiplier
from ..procedure import TRAIN_STEP

__all__ = ["MEMORY", "Spending"]

MEMORY = ":memory:"
"""In the place of a folder: a ledger that ends with the process."""


class Spending:
    """Of one plan at party `number`. `close` it in the end."""

    def __init__(self, plan: Plan, number: int, folder: str) -> None:
        """folder: where the ledger is, MEMORY, or nothing, which InputError refuses where the plan needs one."""
        if not folder and is_private(plan):
            raise InputError(f"{plan.name} releases private data: p{number} needs --data DIR, for its privacy ledger")
        self._number = number
        self._ledger = Ledger(None if folder == MEMORY else Path(folder)) if folder else None
        stages = [p.name for p in plan.procedures if not p.standing]
        self._events = {(role, stage): _events(plan, role, stage) for role in plan.roles for stage in stages}
        self._private = {stage for stage in stages if is_private_in(plan, stage)}
        self._limits = {(role, stage): _limits(plan, role, stage) for role in plan.roles for stage in stages}

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def charge(self, stage: str, role: str, key: str, dataset: str | None, rows: int = 0) -> Charge | str | None:
        """Enters what an execution releases of what this role gives it; why it may not, else. None where nothing is
        entered. rows: from how many those of a step of private training are drawn."""
        if dataset is None and stage not in self._private:
            return None
        if self._ledger is None:
            return f"p{self._number} keeps no ledger, for which it needs --data, so no dataset can be named"
        try:
            events = {_of(event, rows): count for event, count in self._events[role, stage].items()}
            found = self._ledger.charge(Dataset(key, dataset or ""), events, self._limits[role, stage])
        except InputError as error:
            return f"p{self._number} cannot enter the release: {error}"
        named = f"the dataset {dataset!r}" if dataset else "the dataset without a name"
        return f"{named} of {role} {found} [p{self._number}]" if isinstance(found, str) else found

    def give_back(self, charge: Charge | None) -> None:
        """What a submission was charged, as its run has not begun. It stays spent where that cannot be written down."""
        if charge is not None and self._ledger is not None:
            with suppress(InputError):
                self._ledger.give_back(charge)

    def tell(self, key: str, dataset: str, stated: Mapping[str, float] | None) -> dict[str, Any] | str:
        """What is spent of a dataset of this key, after its owner has stated a limit, if any; or why it cannot be told.
        Both as in messages."""
        if self._ledger is None:
            return f"p{self._number} keeps no privacy ledger: it was started without --data"
        try:
            if stated is not None:
                limit = Limit(float(stated["epsilon"]), float(stated["delta"]))
                self._ledger.limit(Dataset(key, dataset), limit)
            return _told(self._ledger.spent(Dataset(key, dataset)))
        except InputError as error:
            return str(error)


def _told(spent: Spent) -> dict[str, Any]:
    return {
        "epsilon": spent.epsilon if math.isfinite(spent.epsilon) else None,
        "delta": spent.delta,
        "by": spent.by,
        "limits": [asdict(each) for each in spent.limits],
    }


def _limits(plan: Plan, role: str, stage: str) -> tuple[Limit, ...]:
    """Those of the plan for what a role gives a procedure."""
    given = {tensor.name for tensor in plan.inputs if tensor.role == role and stage in tensor.stages}
    found = (each for each in plan.budgets if each.role == role and each.source in given)
    return tuple(Limit(each.epsilon, each.delta) for each in found)


def _of(event: Event, rows: int) -> Event:
    """An event as it is entered: how many rows there are is known when they come."""
    return replace(event, rows=counted_rows(rows, event.batch)) if event.kind == "sampled" else event


def _events(plan: Plan, role: str, stage: str) -> dict[Event, int]:
    """What a procedure releases of what a role gives it: what its client answers at random, each result, and a step of
    private training.

    What it leaves to later executions, as other training does, is in their results any number of times: no noise of
    theirs hides it.
    """
    events: Counter[Event] = Counter()
    if stage == TRAIN_STEP and plan.privacy is not None and any(not f.public for f in plan.feeds_of(role, stage)):
        p = plan.privacy
        events[Event("sampled", delta=p.delta, multiplier=p.noise, batch=p.batch, most=p.most)] += 1
    flipped = {}
    for tensor in plan.inputs:
        if tensor.role == role and tensor.flipped and stage in tensor.stages:
            bits = math.prod(tensor.shape[1:])  # of one row
            flipped[tensor.name] = tensor.flipped
            events[Event("pure", epsilon=tensor.flipped * bits)] += 1
    given = {feed for feed in plan.feeds_of(role, stage) if set(tensors_in(feed)) - flipped.keys()}
    lineage, own = Lineage(plan), plan.procedure(stage).gives
    for result in plan.results:
        if not result.promises and not given.isdisjoint(lineage.feeds(result.name)):
            events[_event(result.noise if result.name in own else None)] += 1
    return dict(events)


def _event(noise: Noise | None) -> Event:
    if noise is None:
        return Event("bare")
    if noise.law == "laplace":
        return Event("pure", epsilon=noise.epsilon)
    return Event("gaussian", noise.epsilon, noise.delta, gaussian_multiplier(noise.epsilon, noise.delta))
