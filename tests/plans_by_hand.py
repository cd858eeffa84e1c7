"""Plans made by hand, an op at a time: for tests of gates, which need no compiler.

b = Builder()
x = b.wire((3,), bits=8)                             # an input "in0", opened
y = b.emit(Truncate, bits=16, shift=2, width=7, x=x)
t = trace(b.plan(receiver=1), b.feeds(in0=words))
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from compiler.planning.schedule import Unscheduled, schedule
from mpc_runtime.gates import Combine, Constant, Gate, Input, Leaf, Mul, Open, Reveal, ToBit, Unmask
from mpc_runtime.gates.comparison import leaf_planes
from mpc_runtime.gates.contexts import Types
from mpc_runtime.gates.rules import Declared, Layout
from mpc_runtime.plan import Feed, Options, Origin, Plan, Privacy, Result, Tensor
from mpc_runtime.procedure import Kept, Op
from mpc_runtime.registers import Domain, Form, Register

Array = np.ndarray
WORDS, BITS, PLANES = Domain.WORDS, Domain.BITS, Domain.PLANES


ROLE = "a"
"""Whoever gives what plans made by hand take."""

RANGE = 2.0**64


@dataclass(frozen=True)
class InputPlanes(Input):
    """Shares of bit planes, which no role gives outside tests."""

    count: int
    shape: tuple[int, ...]

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        return (Layout(self.shape, PLANES, planes=self.count),)


class Builder:
    """An op-list under construction. `stage` is the procedure that gets the ops emitted from now on; The first
    is standing and leaves what later ones read, the second is dealt ahead."""

    def __init__(self, stages: tuple[str, ...] = ("setup", "run")) -> None:
        self.registers: list[Register] = []
        self.ops: dict[str, list[tuple[Gate, Origin]]] = {stage: [] for stage in stages}
        self.constants: list[Array] = []
        self.values: dict[str, dict[str, Array]] = {stage: {} for stage in stages}
        self.kept: dict[str, list[Kept]] = defaultdict(list)
        self.feeds: dict[str, Feed] = {}
        self.results: dict[str, Result] = {}
        self.privacy: Privacy | None = None
        self.stage = stages[1]

    def emit(
        self,
        cls: type[Gate],
        shape: tuple[int, ...],
        /,
        bits: int = 1,
        domain: Domain = WORDS,
        planes: int = 1,
        **attributes: Any,
    ) -> int:
        """A gate with one result, whose form follows from its operands' forms."""
        (out,) = (f.name for f in fields(cls) if f.type in ("Out", "Outs"))  # type: ignore[arg-type]
        many = next(f.type for f in fields(cls) if f.name == out) == "Outs"  # type: ignore[arg-type]
        count = len(attributes["thresholds"]) if many else 1
        first = len(self.registers)
        made = tuple(range(first, first + count))
        blank = Register(tuple(shape), Form.SHARED, domain, bits, 0, planes)
        self.registers.extend(blank for _ in made)
        gate = cls(**attributes, **{out: made if many else first})
        for register, layout in zip(made, gate.infer(self.registers, _Told(self)), strict=True):
            form, scale = gate.result(register, self.registers), layout.scale or 0
            self.registers[register] = replace(blank, form=form, scale=scale)
        for register in gate.ins:
            t = self.registers[register]
            assert t.domain is not WORDS or t.bits >= min(64, gate.demand(register, self.registers)), (
                gate,
                register,
                t,
            )
        self.ops[self.stage].append((gate, Origin("", 0, 0)))
        return first

    def act(self, cls: type[Gate], **attributes: Any) -> None:
        """A gate without a result."""
        self.ops[self.stage].append((cls(**attributes), Origin("", 0, 0)))

    def reveal(self, register: int, roles: tuple[str, ...], bits: int, name: str = "y") -> None:
        """Send a register of true shares to roles."""
        t = self.registers[register]
        self.results[name] = Result(
            name, roles, _kind(t.domain), t.shape, ("",) * len(t.shape), t.domain, bits, t.scale
        )
        self.act(Reveal, result_name=name, roles=roles, bits=bits, x=register)

    # -- values in a form ----------------------------------------------------------------------------------------------

    def input(self, value: Array, bits: int = 64, public: bool = False) -> int:
        """Shares of an array: uint64 words, uint8 bits."""
        domain = WORDS if value.dtype == np.uint64 else BITS
        return self._input(value, value.shape, bits if domain is WORDS else 1, domain, 1, public)

    def planes(self, value: Array, n: int) -> int:
        """Shares of bit planes uint64[blocks, P, 8] of n elements."""
        return self._planes(value, (n,))

    def _planes(self, value: Array, shape: tuple[int, ...]) -> int:
        """Roles share no planes, so the feed is no role's."""
        name = f"in{len(self.registers)}"
        self.values[self.stage][name] = value
        count = value.shape[1]
        return self.emit(InputPlanes, shape, 1, PLANES, count, count=count, shape=shape, feed=name, public=False)

    def _input(self, value: Array, shape: tuple[int, ...], bits: int, domain: Domain, planes: int, public: bool) -> int:
        name = f"in{len(self.registers)}"
        self.values[self.stage][name] = value
        self.feeds[name] = Feed(name, ROLE, shape, domain, bits, 0, public, name, "", -RANGE, RANGE)
        return self.emit(Input, shape, bits, domain, planes, feed=name, public=public)

    def constant(self, value: Array) -> int:
        self.constants.append(value)
        domain = WORDS if value.dtype == np.uint64 else BITS
        return self.emit(Constant, value.shape, 64 if domain is WORDS else 1, domain, index=len(self.constants) - 1)

    def open(self, register: int) -> int:
        t = self.registers[register]
        return self.emit(Open, t.shape, t.bits, t.domain, t.planes, x=register)

    def unmask(self, register: int) -> int:
        t = self.registers[register]
        return self.emit(Unmask, t.shape, t.bits, t.domain, t.planes, x=register)

    def wire(self, value: Array, bits: int = 64) -> int:
        return self.open(self.input(value, bits))

    def form(self, form: Form, value: Array, bits: int = 64) -> int:
        """A register that holds the value in this form. Offsets stem from a product with one, for bits from a root."""
        if form is Form.CONSTANT:
            return self.constant(value)
        if form is Form.PUBLIC:
            return self.input(value, bits, public=True)
        shared = self.input(value, bits)
        if form is Form.SHARED:
            return shared
        wire = self.open(shared)
        if form is Form.WIRE:
            return wire
        if value.dtype == np.uint64:
            one = self.wire(np.ones(value.shape, np.uint64), bits)
            offset = self.emit(Mul, value.shape, bits, x=wire, y=one)
            return offset if form is Form.OFFSET else self.open(offset)
        bare = self.emit(ToBit, value.shape, 1, BITS, width=0, threshold=0, root=self._as_planes(value), x=wire)
        assert self.registers[bare].form is Form.BARE
        return bare if form is Form.BARE else self.unmask(bare)

    def _as_planes(self, value: Array) -> int:
        from mpc_runtime.kernels import bits_to_planes

        planes = bits_to_planes(np.ascontiguousarray(value).reshape(-1))
        return self.open(self._planes(planes, value.shape))

    def keep(self, made: int, place: int) -> None:
        """Leave a register of this stage for later executions, in another's place."""
        self.kept[self.stage].append(Kept(made, place))

    # -- the plan ------------------------------------------------------------------------------------------------------

    def plan(self, receiver: int | None = None) -> Plan:
        """receiver: the party that is sent all corrections; None leaves it to the scheduler."""
        procedures = []
        for name in self.ops:
            procedure, _ = schedule(self._unscheduled(name), self.registers)
            if receiver is not None:
                procedure = replace(procedure, ops=tuple(Op(op.gate, receiver) for op in procedure.ops))
            procedures.append(procedure)
        return Plan(
            name="by_hand",
            version="test",
            options=Options("lan", checked=False),
            bits=64,
            frac=16,
            roles=tuple(dict.fromkeys([ROLE, *(role for r in self.results.values() for role in r.roles)])),
            array_roles=(),
            dims=() if self.privacy is None else (("batch", self.privacy.batch),),
            privacy=self.privacy,
            inputs=tuple(
                Tensor(
                    f.name,
                    f.role,
                    "bit" if f.domain is BITS else "int",
                    f.shape,
                    ("",) * len(f.shape),
                    f.lo,
                    f.hi,
                    f.public,
                    (),
                )
                for f in self.feeds.values()
            ),
            params=(),
            feeds=tuple(self.feeds.values()),
            results=tuple(self.results.values()),
            registers=tuple(self.registers),
            procedures=tuple(procedures),
            constants=tuple(self.constants),
        )

    def _unscheduled(self, name: str) -> Unscheduled:
        keeps = list(self.kept[name])
        first, second, *_ = self.ops
        if name == first:
            made = {r for gate, _ in self.ops[name] for r in gate.outs} - {kept.place for kept in keeps}
            read = {r for stage, ops in self.ops.items() if stage != name for gate, _ in ops for r in gate.ins}
            keeps += [Kept(r, r) for r in sorted(made & read)]
        return Unscheduled(name, name == second, name == first, tuple(keeps), self.ops[name])


class _Told:
    """What gates are told of a plan under construction: `gates.rules.Declared`."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

    @property
    def privacy(self) -> Privacy | None:
        return self.builder.privacy

    def layout(self, register: int) -> Layout:
        t = self.builder.registers[register]
        return Layout(t.shape, t.domain, t.scale, t.planes)

    def constant(self, index: int) -> Array:
        return self.builder.constants[index]

    def feed(self, name: str) -> Feed:
        return self.builder.feeds[name]

    def result(self, name: str) -> Result:
        return self.builder.results[name]


def _kind(domain: Domain) -> str:
    return "bit" if domain is BITS else "int"


def compare(
    b: Builder,
    x: int,
    width: int,
    low_bit: int,
    widths: tuple[int, ...],
    tree: tuple[int, ...],
    kind: str,
    thresholds: tuple[int, ...] = (0,),
) -> list[int]:
    """Masked bits [x >= T], or [x = T] for kind "eq", of a masked x: leaves, tree, top bits."""
    shape = b.registers[x].shape
    nodes = len(widths)
    first = b.emit(
        Leaf,
        shape,
        1,
        PLANES,
        leaf_planes(nodes, kind),
        width=width,
        low_bit=low_bit,
        widths=widths,
        kind=kind,
        thresholds=thresholds,
        x=x,
    )
    bits = []
    for i, threshold in enumerate(thresholds):
        root, left, leaf = b.open(first + i), nodes, True
        for fan_in in tree:
            before, left = left, -(-left // fan_in)
            joined = b.emit(
                Combine,
                shape,
                1,
                PLANES,
                leaf_planes(left, kind),
                nodes=before,
                fan_in=fan_in,
                kind=kind,
                leaf=leaf,
                x=root,
            )
            root, leaf = b.open(joined), False
        top = (width, threshold) if kind == "lt" else (0, 0)
        bits.append(b.emit(ToBit, shape, 1, BITS, width=top[0], threshold=top[1], root=root, x=x))
    return bits
