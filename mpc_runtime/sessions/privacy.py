"""What users of a session are told of privacy budgets, and what they give for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import InputError, number
from ..privacy.accountant import Training
from ..privacy.ledger import Limit
from ..privacy.noise import MAX_EPSILON
from ..transport.messages import NAME
from .connections import Connections
from .deployed import Deployment

__all__ = ["Dataset", "Datasets", "Privacy", "check_dataset", "check_datasets", "check_limit", "told", "told_all"]

Datasets: TypeAlias = "str | Mapping[str, str] | None"
"""The name of every role's data, or by role."""


@dataclass(frozen=True)
class Dataset:
    """What was released from a dataset of a role has this epsilon at this delta, by this bound. limits: all stated."""

    role: str
    name: str
    epsilon: float
    delta: float
    by: str
    limits: tuple[Limit, ...]

    def __str__(self) -> str:
        named = repr(self.name) if self.name else "the data without a name"
        limits = f" of {', '.join(map(str, self.limits))}" if self.limits else ""
        delta = f", delta {number(self.delta)}" if self.delta else ""
        return f"{named} of {self.role}: epsilon {number(self.epsilon)}{delta} spent{limits} (by {self.by})"


@dataclass(frozen=True)
class Privacy:
    """What was spent of each dataset, and the largest. training: what the last `fit` of this session tells, where that
    is private."""

    datasets: tuple[Dataset, ...]
    training: Training | None = None

    @property
    def epsilon(self) -> float:
        return max((each.epsilon for each in self.datasets), default=0.0)

    @property
    def delta(self) -> float:
        return max((each.delta for each in self.datasets), default=0.0)

    def __str__(self) -> str:
        trained = [] if self.training is None else [f"the last training: {self.training}"]
        return "\n".join([*map(str, self.datasets), *trained])


def told(
    connections: Connections, deployment: Deployment, role: str | None, dataset: str, limit: Limit | None = None
) -> Privacy:
    """Of a dataset of one of our roles, after its owner has stated this limit. InputError for what is none."""
    owner = _owner(role, _owners(deployment))
    return Privacy((_spent(connections, deployment, owner, check_dataset(dataset), limit),))


def told_all(connections: Connections, deployment: Deployment, datasets: Mapping[str, str]) -> Privacy:
    """Of the datasets of all our roles; those that are not named have no name."""
    named = {role: datasets.get(role, "") for role in _owners(deployment)}
    return Privacy(tuple(_spent(connections, deployment, *each) for each in named.items()))


def _owners(deployment: Deployment) -> list[str]:
    """Our roles that have data of their own in anything that is executed anew for each."""
    stages = [procedure.name for procedure in deployment.plan.procedures if not procedure.standing]
    return list(dict.fromkeys(role for stage in stages for role in deployment.given.owners(stage)))


def _spent(
    connections: Connections, deployment: Deployment, role: str, dataset: str, limit: Limit | None = None
) -> Dataset:
    """What the parties' ledgers say of a dataset, after its owner has stated this limit. They agree, but for what was
    broken off at one of them."""
    with connections.exchange(deployment):
        told = deployment.spent(role, dataset, limit)
    most = max(told, key=lambda each: each.epsilon)
    return Dataset(role, dataset, most.epsilon, most.delta, most.by, most.limits)


def _owner(role: str | None, owners: Sequence[str]) -> str:
    """The role that is meant; InputError where none is."""
    if role is None and len(owners) == 1:
        return owners[0]
    if role in owners and role is not None:
        return role
    raise InputError(f"role: expected one of {', '.join(owners)}, found {role!r}")


def check_dataset(name: object) -> str:
    """InputError when this is no name of a dataset."""
    if isinstance(name, str) and 0 < len(name) <= NAME and name.isprintable():
        return name
    raise InputError(f"dataset: expected a name of at most {NAME} characters, such as 'cohort-2026', found {name!r}")


def check_datasets(given: Datasets, owners: Sequence[str]) -> dict[str, str]:
    """Role -> how it calls its data, for those that name it. InputError when that is not what was given."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return dict.fromkeys(owners, check_dataset(given))
    unknown = [str(role) for role in given if role not in owners]
    if unknown:
        raise InputError(f"dataset: {unknown[0]!r} gives nothing to a run here; expected {' or '.join(owners)}")
    return {role: check_dataset(name) for role, name in given.items()}


def check_limit(epsilon: object, delta: object) -> Limit:
    """InputError when this is no limit."""
    for what, value, most in (("epsilon", epsilon, MAX_EPSILON), ("delta", delta, 1.0)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
            raise InputError(f"{what}: expected a number from 0 to {number(most)}, found {value!r}")
    return Limit(float(epsilon), float(delta))  # type: ignore[arg-type]
