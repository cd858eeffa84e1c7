"""The leakage manifest: what is revealed to whom, read off the instructions of a verified plan, so that it can omit
nothing. It is never stored: a plan cannot say of itself what it does not do."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import number
from ..plan import Noise, Plan, Privacy, Promise
from ..privacy.noise import gaussian_epsilon
from ..procedure import CHECK, EVALUATE, FINISH, METRICS, RESCALE, TRAIN_STEP
from .verify import verify

WHEN = {
    TRAIN_STEP: "in every step of training, ",
    EVALUATE: "for every batch of validation rows, ",
    METRICS: "once an epoch of training, ",
    CHECK: "before every checkpoint of training, ",
    RESCALE: "where training goes on at another rate, ",
    FINISH: "whenever training is finished, ",
}
"""Before what a procedure reveals; `setup` and `run` go without saying."""


def manifest(plan: Plan) -> tuple[str, ...]:
    """One sentence a revelation, in the order of the plan. Raises CompileError for a plan that does not verify."""
    verify(plan)
    owners = {feed.name: (feed.role, feed.source or feed.name) for feed in plan.feeds}
    found = [
        (WHEN.get(p.name, ""), each)
        for p in plan.procedures
        for gate in p.gates
        for each in gate.revelations(owners, plan.registers)
    ]
    lines = [when + each.sentence for when, each in found if not each.whole]
    lines += _checks(plan)
    lines += _releases(plan)
    lines += dict.fromkeys(each.sentence for _, each in found if each.whole)
    lines += _promises(plan)
    lines.append("p0, p1 and the dealer know this plan: shapes, ranges, constants and the order of the ops")
    return tuple(lines)


def _checks(plan: Plan) -> Iterator[str]:
    """What a bit that says whether a check was kept tells of the values, and what the run is worth without it. Results
    that tell of the same checks are told of together."""
    together: dict[tuple[Promise, ...], list[str]] = {}
    for result in plan.results:
        if result.promises:
            together.setdefault(result.promises, []).append(f"`{result.name}`")
    for promises, names in together.items():
        limits = plan.trains and any(promise.norm for promise in promises)
        yield from _limits(promises, names, limits) if len(promises) > 1 else _limit(promises[0], names, limits)


def _limit(promise: Promise, names: list[str], trained: bool) -> Iterator[str]:
    for name in names:
        if trained:
            yield (
                f"{name} is 1 if {promise.claim} in every step of training so far, and else 0; then all that is sent "
                "with it is 0"
            )
        else:
            yield (
                f"{name} is 1 if {promise.claim}, and 0 if any of it does not: then the results of this run may be "
                "wrong, and its clients refuse them"
            )


def _limits(promises: tuple[Promise, ...], names: list[str], trained: bool) -> Iterator[str]:
    """A sentence on all, and one on each."""
    *others, last = names
    which = f"{', '.join(others)} and {last} have" if others else f"{last} has"
    kept, worth = "was kept", "the results of this run may be wrong, and its clients refuse them"
    if trained:
        kept, worth = "was kept in every step of training so far", "all that is sent with them is 0"
    count = len(promises)
    yield f"{which} a bit for each of {count} limits: 1 if the limit {kept}, and else 0; where one is 0, {worth}"
    for place, promise in enumerate(promises, 1):
        yield f"limit {place} of {count} (line {promise.line}): {promise.claim}"


HOW = {
    "compiled": "is proved by the ranges of the source, as its compiler says (`mpcc verify --source` asks it)",
    "provided": "is checked by the client of {owner} with the real weights, when they are provided",
    "measured": "was measured on samples, and nobody tries to prove it",
    "claimed": "is its author's word, which nothing proves",
}


def _promises(plan: Plan) -> Iterator[str]:
    """What values are promised to be, and how that is known: a broken promise gives a wrong number."""
    for claim in plan.claims:
        yield f"the promise {claim} {HOW[claim.known].format(owner=claim.owner)}"


def _releases(plan: Plan) -> Iterator[str]:
    """What noise hides, what is limited, and what is outside of both."""
    for tensor in plan.inputs:
        if tensor.flipped:
            yield (
                f"`{tensor.name}` of {tensor.role} is answered at random by its own client: each bit is flipped with "
                f"probability 1 / (1 + exp({number(tensor.flipped)}))"
            )
    for result in plan.results:
        if result.noise is not None:
            yield from _noise(result.name, " and ".join(result.roles), result.noise)
    if plan.privacy is not None:
        yield from _training(plan, plan.privacy)
    for budget in plan.budgets:
        yield (
            f"`{budget.source}` of {budget.role} has a budget of {_spent(budget.epsilon, budget.delta)}: p0 and p1 "
            "refuse what would exceed it, by their ledgers of the dataset that its owner names"
        )
    private = plan.budgets or plan.privacy or any(result.noise for result in plan.results)
    if private and any(result.promises for result in plan.results):
        yield "whether promises were kept is told without noise: these bits are outside epsilon"


def _training(plan: Plan, privacy: Privacy) -> Iterator[str]:
    """Of how many rows and in how many steps, and so at which epsilon, is known when it is trained."""
    roles = plan.roles_of(TRAIN_STEP)
    givers = " and ".join(role for role in roles if any(not feed.public for feed in plan.feeds_of(role, TRAIN_STEP)))
    noise, clip, delta = number(privacy.noise), number(privacy.clip), number(privacy.delta)
    yield (
        f"each row moves the sum of the gradients of a step of training by at most {clip} in L2, as clipping proves, "
        f"and the dealer's discrete Gaussian noise in it is {noise} times as wide; what is made of that is free"
    )
    yield (
        f"each step of training draws every row with the chance {privacy.batch} / (number of rows), at most "
        f"{privacy.most}; which it has drawn is known to {givers} and to no other machine"
    )
    yield (
        f"`history.epsilon` tells both epsilons of training at delta {delta}: towards who sees only what it releases, "
        f"and towards who knows the rows drawn too, as a party may from {givers}; towards these, one step by itself "
        f"costs epsilon {number(round(gaussian_epsilon(privacy.delta, privacy.noise), 2))}"
    )
    yield "the dealer knows the noise of training: together with who is sent what is trained it could take it off"


def _noise(name: str, receivers: str, noise: Noise) -> Iterator[str]:
    law, norm = {"laplace": ("Laplace", "L1"), "gaussian": ("Gaussian", "L2")}[noise.law]
    whose = "the dealer's" if noise.made_by == "dealer" else "both parties'"
    why = "as ranges prove" if noise.proved else "as its author claims, which nothing proves"
    rounding = f", with {number(noise.rounding)} for rounding" if noise.rounding else ""
    yield (
        f"output `{name}` has discrete {law} noise, {whose}: {_spent(noise.epsilon, noise.delta)} if one row of an "
        f"owner's input moves it by at most {number(noise.sensitivity)} in {norm}{rounding}, {why}"
    )
    if noise.made_by == "dealer":
        yield f"the dealer knows the noise of `{name}`: together with {receivers} it could take it off"
    else:
        yield f"each party knows its part of the noise of `{name}`, of which the other's part hides as much"


def _spent(epsilon: float, delta: float) -> str:
    return f"epsilon {number(epsilon)}" + (f", delta {number(delta)}" if delta else "")
