"""Whether a plan may be executed: nothing in it is believed.

Equal hashes prove that all machines have the same plan, not that the plan is harmless: its author may have written
anything. So every machine that loads one first checks, without the compiler, that

    registers     have sizes, rings and scales within bounds, and are written once               (here)
    declarations  agree: a role's tensor, what its client shares of it and the gate that takes it;
                  the bits of a check and its promises                                           (here)
    releases      are as wide as what is declared of them asks, and nothing with a budget goes without (`releases`)
    procedures    schedule every op once, after its operands, and keep nothing that an abort
                  would leave half opened; each gate is applied as its own rules allow           (`oplist`)
    memory        that machines would take stays within a limit, before any is taken              (here)

The security lemma of PROTOCOLS section 0 asks that every message has pad words of its own (R1), that what is opened
depends on earlier openings alone (R2), and that a message is reduced and masked in its full shape (R3). R1 and R2
follow here from "once, after its operands", since a stream is named by its op; R3 is the gates' own: an opening has
its operand's shape, and what it sends has the ring's bits.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from ..errors import CompileError
from ..gates.rules import Refused, expect, expect_between
from ..plan import Claim, Coins, Feed, Metric, Plan, Promise, Result, Tensor
from ..privacy.noise import MAX_EPSILON
from ..procedure import METRICS, TRAIN_STEP
from ..registers import Domain, Form, Register
from .memory import peak_memory
from .oplist import check_procedure
from .releases import check_declared, check_releases, tensors_in
from .units import human

__all__ = ["MAX_ELEMENTS", "MAX_MEMORY", "expect_room", "verify"]

MAX_ELEMENTS = 1 << 31
"""Elements of a tensor, the limit that the language has too."""

MAX_AXES = 16
MAX_PLANES = 1 << 13
SCALES = (-64, 128)
"""Fraction bits of any register: those of a product of two of the widest constants are fewer."""

MAX_OPS = 1 << 24
MAX_MEMORY = 1 << 42
"""Bytes that a plan may ask of any machine. A server asks for no more than it has (`expect_room`)."""


def verify(plan: Plan, name: str = "") -> None:
    """CompileError, with the op and the rule that it breaks, unless the plan may be executed.

    name: the plan's file, for the message.
    """
    try:
        _check_names(plan)
        for number, register in enumerate(plan.registers):
            _check(f"register {number}", _check_register, register)
        for number, array in enumerate(plan.constants):
            _check(f"constant {number}", _check_constant, array)
        for tensor in (*plan.inputs, *plan.params):
            _check(f"`{tensor.name}` of {tensor.role}", _check_tensor, plan, tensor)
        for feed in plan.feeds:
            _check(f"what {feed.role} shares as `{feed.name}`", _check_feed, plan, feed)
        for result in plan.results:
            _check(f"the result {result.name!r}", _check_promises, result)
        for claim in plan.claims:
            _check(f"the promise of {claim.value!r}", _check_claim, plan, claim)
        for metric in plan.metrics:
            _check(f"the metric {metric.name!r}", _check_metric, plan, metric)
        for coins in plan.coins:
            _check(f"the coins `{coins.tensor}`", _check_coins, plan, coins)
        _check_exchanges(plan)
        check_declared(plan)
        _check_procedures(plan)
        for procedure in sorted(plan.procedures, key=lambda p: not p.standing):
            check_procedure(plan, procedure)
        _check_written_once(plan)
        check_releases(plan)
        _check_memory(plan, MAX_MEMORY)
    except Refused as broken:
        raise CompileError(f"{name or plan.name}: the plan is refused: {broken}") from None


def expect_room(plan: Plan, memory: int) -> None:
    """CompileError unless executions of a verified plan take at most so many bytes of a party's machine."""
    try:
        _check_memory(plan, memory)
    except Refused as broken:
        raise CompileError(f"{plan.name}: {broken}; compile it for a smaller batch") from None


def _check(where: str, rule: object, *arguments: object) -> None:
    """Applies a rule, whose refusal then says where."""
    try:
        rule(*arguments)  # type: ignore[operator]
    except Refused as broken:
        raise Refused(f"{where}: {broken}") from None


def _check_names(plan: Plan) -> None:
    expect(re.fullmatch("([0-9a-f]{64})?", plan.model) is not None, "model: expected a SHA-256 hash, or nothing")
    members = [member for array in plan.array_roles for member in array.members]
    expect(set(members) <= set(plan.roles), "an array role has a member that is no role")
    for what, names in (
        ("roles", plan.roles),
        ("feeds", [f.name for f in plan.feeds]),
        ("results", [r.name for r in plan.results]),
        ("procedures", [p.name for p in plan.procedures]),
        ("tensors of one role", [(t.role, t.name) for t in (*plan.inputs, *plan.params)]),
        ("states", [s.name for s in plan.states]),
        ("registers of states", [s.register for s in plan.states]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        expect(not twice, f"two {what} are called {twice[0] if twice else ''}")
    named = [t.name for t in (*plan.inputs, *plan.params)] + [f.name for f in plan.feeds]
    named += [r.name for r in plan.results] + [s.name for s in plan.states]
    for name in (plan.name, *plan.roles, *named):
        expect(name.isprintable() and "`" not in name, f"{name!r} would look like something else in a message")
    expect_between("ops", sum(len(p.ops) for p in plan.procedures), 0, MAX_OPS)


def _check_promises(result: Result) -> None:
    """A check is a bit for each of its promises, in their order."""
    if not result.promises:
        return
    count = len(result.promises)
    told, wanted = (result.domain, result.kind, result.shape), (Domain.BITS, "bit", () if count == 1 else (count,))
    expect(told == wanted, f"expected a bit for each of {count} promises, found {result.kind} {list(result.shape)}")
    expect(result.noise is None, "a check has no noise")
    for promise in result.promises:
        _check_said(promise)
        expect_between("place", promise.place, 0, MAX_OPS)
    expect(len(set(map(str, result.promises))) == count, "two of its promises are called alike")


def _check_said(said: Promise | Claim) -> None:
    expect(said.value.isprintable() and "`" not in said.value, "its name would look like something else in a message")
    expect(said.lo <= said.hi, "its range is empty")
    expect_between("line", said.line, 0, MAX_OPS)


def _check_claim(plan: Plan, claim: Claim) -> None:
    _check_said(claim)
    expect((claim.known == "provided") == (claim.owner in plan.roles), "it is not said whose client proves it")


def _check_metric(plan: Plan, metric: Metric) -> None:
    told = next((p.gives for p in plan.procedures if p.name == METRICS), frozenset())
    expect(metric.result in told, f"`{metric.result}` is not told once an epoch")
    expect(metric.name in ("accuracy", "loss"), f"there is no metric {metric.name!r}")
    expect(0 < metric.share < math.inf, f"expected a share above 0, found {metric.share:g}")
    expect_between("rows or steps", metric.most, 1, 1 << 48)


def _check_coins(plan: Plan, coins: Coins) -> None:
    drawn = [t for t in plan.inputs if t.name == coins.tensor]
    expect(len(drawn) == 1 and drawn[0].stages == (TRAIN_STEP,), "no input of a step alone has this name")
    expect(drawn[0].public and drawn[0].kind == "int" and (drawn[0].lo, drawn[0].hi) == (0, 1), "they are no coins")
    expect(0 < coins.keep < 1, f"expected a probability between 0 and 1, found {coins.keep:g}")


def _check_shape(shape: Iterable[int]) -> None:
    size, axes = 1, 0
    for n in shape:
        expect_between("size of an axis", n, 0, MAX_ELEMENTS)
        size, axes = size * max(n, 1), axes + 1
    expect_between("axes", axes, 0, MAX_AXES)
    expect_between("elements", size, 0, MAX_ELEMENTS)


def _check_register(register: Register) -> None:
    _check_shape(register.shape)
    words = register.domain is Domain.WORDS
    expect_between("bits", register.bits, 1, 64 if words else 1)
    expect_between("planes", register.planes, 1, MAX_PLANES if register.domain is Domain.PLANES else 1)
    expect_between("scale", register.scale, *SCALES)


def _check_constant(array: np.ndarray) -> None:
    _check_shape(array.shape)
    expect(array.dtype in (np.uint64, np.uint8), f"expected words or bits, found {array.dtype}")
    if array.dtype == np.uint8:
        expect(int(array.max(initial=0)) <= 1, "expected bits, found larger numbers")


def _check_tensor(plan: Plan, tensor: Tensor) -> None:
    expect(tensor.role in plan.roles, "there is no such role")
    expect(tensor.kind in KINDS, f"expected a kind of {' or '.join(KINDS)}, found {tensor.kind!r}")
    expect(len(tensor.dims) == len(tensor.shape), "expected a name, or none, for the dim of every axis")
    expect(tensor.lo <= tensor.hi, f"no range: [{tensor.lo}, {tensor.hi}]")
    unknown = sorted(set(tensor.stages) - {p.name for p in plan.procedures})
    expect(not unknown, f"given for {', '.join(unknown)}, which the plan does not have")
    expect(tensor.flipped == 0 or tensor.kind == "bit", "only bits can be answered at random")
    expect(0 <= tensor.flipped <= MAX_EPSILON, f"epsilon: expected 0 to {MAX_EPSILON:g}, found {tensor.flipped:g}")
    _check_shape(tensor.shape)
    if tensor.norm is not None:
        expect(tensor.norm.l1 > 0, "weights cannot sum to at most 0")
        expect_between("axis of the outputs", tensor.norm.outputs, 0, len(tensor.shape) - 1)
        expect(
            tensor.norm.groups > 0 and tensor.shape[0] % tensor.norm.groups == 0, "groups do not divide the first axis"
        )


KINDS = {"fixed": Domain.WORDS, "int": Domain.WORDS, "bit": Domain.BITS}
"""Kinds of tensors, and how their elements are shared."""


def _check_feed(plan: Plan, feed: Feed) -> None:
    expect(feed.role in plan.roles, "there is no such role")
    expect(bool(feed.source) != bool(feed.expression), "expected a tensor or an expression of tensors")
    _check_register(Register(feed.shape, Form.SHARED, feed.domain, feed.bits, feed.scale))
    stage = next((p.name for p in plan.procedures if feed.name in p.takes), "")
    owned = {t.name: plan.sized(t, stage) for t in (*plan.inputs, *plan.params) if t.role == feed.role}
    for name in tensors_in(feed):
        expect(name in owned, f"{feed.role} has no tensor `{name}`")
        expect(owned[name].public or not feed.public, f"`{name}` is secret, but would be shared in clear")
    if feed.source:
        tensor = owned[feed.source]
        given = tensor.public, tensor.shape, tensor.lo, tensor.hi, KINDS[tensor.kind]
        taken = feed.public, feed.shape, feed.lo, feed.hi, feed.domain
        expect(given == taken, "its owner, visibility, shape or range is not that of the tensor")


def _check_exchanges(plan: Plan) -> None:
    """What roles give is taken once, and what they are told is told once, to roles of the plan."""
    taken = Counter(name for p in plan.procedures for gate in p.gates for name in gate.feeds)
    given = Counter(name for p in plan.procedures for gate in p.gates for name in gate.results)
    for feed in plan.feeds:
        expect(taken[feed.name] == 1, f"`{feed.name}` is taken by {taken[feed.name]} ops, not by one")
    for result in plan.results:
        expect(given[result.name] == 1, f"`{result.name}` is sent by {given[result.name]} ops, not by one")
        unknown = sorted(set(result.roles) - set(plan.roles))
        expect(not unknown, f"`{result.name}` is for {', '.join(unknown)}, which the plan does not know")
        expect(len(set(result.roles)) == len(result.roles), f"`{result.name}` is for a role twice")


def _check_procedures(plan: Plan) -> None:
    """What one procedure reads of others is there whenever it is executed."""
    left = {kept.place for p in plan.procedures for kept in p.keeps}
    for p in plan.procedures:
        missing = sorted(p.reads - left)
        expect(not missing, f"{p.name} reads register {missing[:1]}, which nothing leaves")
    replaced = {kept.place for p in plan.procedures if p.name == TRAIN_STEP for kept in p.keeps}
    expect({s.register for s in plan.states} == replaced, "the states are not what a step of training leaves")
    for state in plan.states:
        register = plan.registers[state.register]
        expect(register.form is Form.SHARED and register.domain is Domain.WORDS, f"`{state.name}` is not in shares")
        expect(0 < state.unit < math.inf, f"`{state.name}`: expected a unit above 0, found {state.unit:g}")


def _check_written_once(plan: Plan) -> None:
    """A register has one meaning. What is made of constants alone is the same wherever it is made."""
    writers: dict[int, object] = {}
    for procedure in plan.procedures:
        for gate in procedure.gates:
            for register in gate.outs:
                before = writers.setdefault(register, gate)
                constant = plan.registers[register].form is Form.CONSTANT and before == gate
                expect(before is gate or constant, f"register {register} is written by two ops")


def _check_memory(plan: Plan, memory: int) -> None:
    constants = {
        r: plan.registers[r].memory_bytes
        for p in plan.procedures
        for gate in p.gates
        for r in gate.outs
        if plan.registers[r].form is Form.CONSTANT and not gate.is_view(plan.registers)
    }
    needed = peak_memory(plan) + sum(constants.values())
    expect(needed <= memory, f"an execution takes about {human(needed)} of memory, but the limit is {human(memory)}")
