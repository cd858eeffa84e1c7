"""Pieces of an expansion, executed in clear: what a test emits between inputs that it chooses and what it reads.

    unit = Unit()
    x = unit.held([3, -5], scale=2)                  # 0.75 and -1.25, as shares
    wire, _ = unit.e.wire(x)
    unit.read(wire)                                  # [3, -5]: Python's integers, signed

Rings, forms and rounds are assigned as for any model, and the gates' ring meaning is what is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from compiler.expand import Expanded
from compiler.expand.compare import Bits
from compiler.expand.context import Expansion
from compiler.expand.emitter import PUBLIC, SHARE, WIRE, Emitter, Held
from compiler.expand.layouts import LAN, Network
from compiler.graph import Kind, Precision, Value
from compiler.graph.interval import Interval
from compiler.planning.assign import assign
from compiler.planning.schedule import schedule
from mpc_runtime import gates
from mpc_runtime.execution.simulator import Simulator
from mpc_runtime.gates import Gate
from mpc_runtime.plan import Options, Plan
from mpc_runtime.registers import Domain
from tests.compiler.graphs import leaf
from tests.traced import KEYS

Array = np.ndarray


class Unit:
    """An expansion without a graph."""

    def __init__(self, precision: Precision | None = None, network: Network = LAN) -> None:
        self.e = Emitter(precision or Precision())
        self.bits = Bits(self.e, network)
        self.x = Expansion(self.e, self.bits, network)
        self.feeds: dict[str, Array] = {}

    def words(self, integers: Any, scale: int = 0, mode: str = SHARE) -> int:
        """A register of shares (or of a public value) of ring elements."""
        array = np.array(np.array(integers, dtype=object) % (1 << 64), dtype=np.uint64)
        return self._fed(array, mode, scale, Domain.WORDS)

    def masked(self, integers: Any, scale: int = 0) -> int:
        return self.e.open(self.words(integers, scale))

    def masked_bits(self, bits: Any) -> int:
        return self.e.open(self._fed(np.array(bits, np.uint8), SHARE, 0, Domain.BITS))

    def _fed(self, array: Array, mode: str, scale: int, domain: Domain) -> int:
        name = f"in{len(self.feeds)}"
        self.feeds[name] = array
        public = mode == PUBLIC
        return self.e.emit(gates.Input, array.shape, mode, scale=scale, domain=domain, feed=name, public=public)

    def held(self, integers: Any, scale: int = 0, range: tuple[float, float] = (-8, 8), mode: str = SHARE) -> Held:
        """A tensor of fixed-point numbers: integers times 2^-scale."""
        register = self.words(integers, scale, mode)
        return Held(Kind.FIXED, self.e.shape(register), Interval(*range), {(mode, scale): register})

    def value(self, shape: tuple[int, ...], range: tuple[float, float]) -> Value:
        """What an expansion is told of its result."""
        return leaf(f"v{len(self.feeds)}", shape, range)

    # -- what came of it -----------------------------------------------------------------------------------------------

    def gates(self, *kinds: type[Gate]) -> list[Gate]:
        return [gate for gate, _ in self.e.ops if isinstance(gate, kinds)]

    def count(self) -> Counter[type[Gate]]:
        return Counter(type(gate) for gate, _ in self.e.ops)

    def plan(self, registers: Sequence[int], bits: int = 64) -> Plan:
        """The plan that reveals these registers as y0, y1, …, words with so many bits."""
        shared = [self._shared(register) for register in registers]
        words = [self.e.drafts[register].domain is Domain.WORDS for register in registers]
        ends = [
            (gates.Reveal(f"y{i}", ("client",), bits if words[i] else 1, register), self.e.origin)
            for i, register in enumerate(shared)
        ]
        ops = [*self.e.ops, *ends]
        assigned = assign(
            Expanded(self.e.drafts, ops, self.e.constants, [], []),
            {name: "run" for gate, _ in ops for name in gate.feeds},
        )
        procedures = tuple(schedule(each, assigned.registers)[0] for each in assigned.procedures)
        return Plan(
            name="unit",
            version="test",
            options=Options("lan", checked=False),
            bits=64,
            frac=16,
            roles=(),
            array_roles=(),
            dims=(),
            inputs=(),
            params=(),
            feeds=(),
            results=(),
            registers=tuple(assigned.registers),
            procedures=procedures,
            constants=tuple(self.e.constants),
        )

    def _shared(self, register: int) -> int:
        draft = self.e.drafts[register]
        if draft.mode == WIRE:
            return self.e.unmask(register)
        if draft.mode == SHARE:
            return register
        return self.e.emit(gates.FromPublic, draft.shape, SHARE, scale=draft.scale, domain=draft.domain, x=register)

    def read_all(self, *registers: int, bits: int = 64) -> list[list[Any]]:
        """The elements of each register, as (nested lists of) signed integers; bits as 0 and 1."""
        plan = self.plan(registers, bits)
        simulator = Simulator(plan)
        simulator.execute("setup", KEYS["setup"][:2], {})
        found = simulator.execute("run", KEYS["run"][:2], self.feeds)
        return [self._integers(found[f"y{i}"], register, bits) for i, register in enumerate(registers)]

    def read(self, register: int, bits: int = 64) -> list[Any]:
        return self.read_all(register, bits=bits)[0]

    def _integers(self, words: Array, register: int, bits: int) -> list[Any]:
        if self.e.drafts[register].domain is not Domain.WORDS:
            return words.astype(int).tolist()
        whole = words.astype(object) % (1 << bits)
        return np.where(whole >= 1 << (bits - 1), whole - (1 << bits), whole).tolist()
