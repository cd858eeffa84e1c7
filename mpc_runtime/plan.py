"""The plan: everything that every machine knows before anything runs.

Frozen dataclasses of integers, strings and tuples, and arrays of encoded constants; no pickle. A plan file is

    MAGIC | format (u32) | length (u64) | canonical JSON | constants, little-endian | debug JSON (source text and spans)

and its hash is SHA-256 over all of that but the debug part, so that the same source, options and version give the same
hash. A plan just compiled and one read from a file, wherever its bytes lie, hold the same arrays (see `Plan`), so that
what works with the one works with the other. This module stores and checks plans; what runs is in `procedure.py`,
what gates mean is theirs, and how a plan is made is the compiler's.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CompileError, Error, number
from .gates import GATES, Gate
from .procedure import Kept, Op, Procedure, Round
from .registers import Domain, Form, Register

FORMAT = 3
"""Plan format: raised whenever a plan's bytes would mean something else."""

MAGIC = b"PPMLPLAN"
_HEADER = struct.Struct("<8sIQ")


@dataclass(frozen=True)
class Options:
    """What the compiler was asked for beside the source. network: as `compile` takes it. checked: whether every run
    reveals if the promises of the source hold."""

    network: str
    checked: bool


@dataclass(frozen=True)
class ArrayRole:
    """Several roles that the source declares under one name, as `hospital[3]`; each has keys and tensors of its own."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Tensor:
    """An input or parameter as its owner gives it. dims: the name of the dim of each axis, or "".

    stacked: every member of an array role has such a tensor; the model sees them along a new first axis.
    """

    name: str
    role: str
    kind: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    lo: float
    hi: float
    public: bool
    stacked: bool = False


@dataclass(frozen=True)
class Feed:
    """What a role's client shares: one of its tensors (`source`), or an expression of them that it computes in float64.

    expression: canonical JSON of the prepared expression, or "" where the feed is the tensor `source` itself.
    scale: fraction bits of the encoding; bits: the ring.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    domain: Domain
    bits: int
    scale: int
    public: bool
    source: str
    expression: str
    lo: float
    hi: float


@dataclass(frozen=True)
class Promise:
    """What the source says of a value in this line: `value = EXPR in [lo, hi]`. place: among the promises checked."""

    value: str
    line: int
    lo: float
    hi: float
    place: int

    def __str__(self) -> str:
        text = f"{self.value} (line {self.line}) in [{number(self.lo)}, {number(self.hi)}]"
        return f"{text} #{self.place + 1}" if self.place else text


@dataclass(frozen=True)
class Result:
    """What roles are sent and decode. scale and bits are those of the ring element that is sent.

    promise: of a check, the promise that the bit says was kept; None for an output.
    """

    name: str
    roles: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    domain: Domain
    bits: int
    scale: int
    promise: Promise | None = None


@dataclass(frozen=True)
class Origin:
    """Where an op comes from: what the author wrote. Outside the hash."""

    label: str
    line: int
    column: int


@dataclass(frozen=True, eq=False)
class Plan:
    """A compiled program. `origins[procedure name][op]` and `source` are for people, outside the hash.

    bits, frac: the number format of `fixed` values. roles: every one, the members of `array_roles` among them.
    constants: whoever makes the plan, they become aligned, C-contiguous, read-only arrays in the machine's byte order.
    """

    name: str
    version: str
    options: Options
    bits: int
    frac: int
    roles: tuple[str, ...]
    array_roles: tuple[ArrayRole, ...]
    dims: tuple[tuple[str, int], ...]
    inputs: tuple[Tensor, ...]
    params: tuple[Tensor, ...]
    feeds: tuple[Feed, ...]
    results: tuple[Result, ...]
    registers: tuple[Register, ...]
    procedures: tuple[Procedure, ...]
    leakage: tuple[str, ...]
    constants: tuple[np.ndarray, ...]
    origins: tuple[tuple[Origin, ...], ...] = ()
    source: str = ""
    filename: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "constants", tuple(_constant(a) for a in self.constants))
        _check_procedures(self.procedures, self.registers)
        _check_exchanges(self)

    def procedure(self, name: str) -> Procedure:
        return next(p for p in self.procedures if p.name == name)

    def origin(self, procedure: str, op: int) -> Origin:
        """Where op `op` comes from, or a blank origin for a plan without debug part."""
        for p, origins in zip(self.procedures, self.origins, strict=False):
            if p.name == procedure:
                return origins[op]
        return Origin("", 0, 0)

    def where(self, procedure: str, op: int) -> str:
        """The op in the author's words, for messages: "relu (lenet.ppml:14)"."""
        origin = self.origin(procedure, op)
        gate = type(self.procedure(procedure).ops[op].gate).__name__.lower()
        if not origin.line:
            return f"{procedure} op {op} ({gate})"
        return f"`{origin.label}` ({self.filename}:{origin.line}, op {op}: {gate})"

    @cached_property
    def hash(self) -> str:
        """64 hexadecimal digits; what every machine compares at the start of a session."""
        return hashlib.sha256(self._body()).hexdigest()

    @property
    def has_meetings(self) -> bool:
        """Whether a run takes more than one role, so that the first to submit waits; p0 says when the run begins."""
        return len(self.roles) > 1

    @property
    def outputs(self) -> tuple[Result, ...]:
        """The results that the source asks for: all but the checks."""
        return tuple(r for r in self.results if r.promise is None)

    @cached_property
    def array_role_of(self) -> dict[str, str]:
        """Member of an array role -> its name."""
        return {member: array.name for array in self.array_roles for member in array.members}

    def feeds_of(self, role: str, stage: str) -> tuple[Feed, ...]:
        """What a role gives a procedure."""
        taken = self.procedure(stage).takes
        return tuple(f for f in self.feeds if f.role == role and f.name in taken)

    def results_of(self, role: str, stage: str | None = None) -> tuple[Result, ...]:
        """What a role is sent: by one procedure, or by all."""
        given = self.procedure(stage).gives if stage is not None else {r.name for r in self.results}
        return tuple(r for r in self.results if role in r.roles and r.name in given)

    def roles_of(self, stage: str) -> tuple[str, ...]:
        """The roles that have a part in a procedure, in the plan's order: they give it something or are sent results.
        An execution of it waits for their submissions."""
        return tuple(r for r in self.roles if self.feeds_of(r, stage) or self.results_of(r, stage))

    def _body(self) -> bytes:
        head = {
            f.name: _plain(getattr(self, f.name))
            for f in fields(self)
            if f.name not in ("constants", "origins", "source", "filename")
        }
        arrays = [a.astype(a.dtype.newbyteorder("<"), copy=False) for a in self.constants]
        head["constants"] = [[a.dtype.str, list(a.shape)] for a in arrays]
        text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
        return _HEADER.pack(MAGIC, FORMAT, len(text)) + text + b"".join(a.tobytes() for a in arrays)

    def to_bytes(self) -> bytes:
        debug = {"origins": _plain(self.origins), "source": self.source, "filename": self.filename}
        return self._body() + json.dumps(debug, sort_keys=True, separators=(",", ":")).encode()

    def save(self, path: str | os.PathLike[str]) -> None:
        Path(path).write_bytes(self.to_bytes())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Plan:
        """Raises CompileError when the file is not a plan of this format, naming both formats."""
        try:
            data = Path(path).read_bytes()
        except OSError as e:
            raise Error(f"{path}: cannot be read: {e.strerror}") from None
        return Plan.from_bytes(data, str(path))

    @staticmethod
    def from_bytes(data: bytes | bytearray | memoryview, name: str = "plan") -> Plan:
        """The plan in a buffer, of which nothing is kept. Raises CompileError as `load` does."""
        data = memoryview(data)
        if len(data) < _HEADER.size or data[:8] != MAGIC:
            found = f"it does not start with {MAGIC.decode()}"
            raise CompileError(f"{name}: not a plan ({found}); make one with `mpcc compile`")
        _, version, length = _HEADER.unpack_from(data)
        if version != FORMAT:
            formats = f"plan format {version}, but this version reads format {FORMAT}"
            raise CompileError(f"{name}: {formats}; compile it again")
        try:
            return _from_bytes(data, length)
        except (ValueError, KeyError, TypeError, IndexError) as e:
            raise CompileError(f"{name}: the plan is damaged ({type(e).__name__}: {e}); compile it again") from None


def _constant(array: np.ndarray) -> np.ndarray:
    """The elements as a plan holds them, without a copy where they lie so: a view that is only read."""
    native = array.dtype.newbyteorder("=")
    view: np.ndarray = np.require(array, native, ("C_CONTIGUOUS", "ALIGNED")).view()
    view.flags.writeable = False
    return view


def _check_procedures(procedures: tuple[Procedure, ...], registers: tuple[Register, ...]) -> None:
    """ValueError where machines could not execute these procedures one after the other."""
    if sum(p.ahead for p in procedures) > 1:
        raise ValueError("several procedures whose material is dealt ahead")
    left = {kept.place for p in procedures for kept in p.keeps}
    for p in procedures:
        if not p.reads <= left:
            raise ValueError(f"{p.name} reads register {min(p.reads - left)}, which nothing leaves")
        for kept in p.keeps:
            t = registers[kept.made]
            if kept.made not in p.made | p.reads or t != registers[kept.place]:
                raise ValueError(f"{p.name} cannot leave register {kept.made} in {kept.place}")
            if p.ahead and t.form is not Form.SHARED:
                raise ValueError(f"{p.name} leaves a {t.form.value} value, but its records may be passed over")


def _check_exchanges(plan: Plan) -> None:
    """ValueError where what roles give or are sent is not the business of one procedure."""
    for name in [f.name for f in plan.feeds]:
        if sum(name in p.takes for p in plan.procedures) != 1:
            raise ValueError(f"not one procedure takes the feed {name!r}")
    for name in [r.name for r in plan.results]:
        if sum(name in p.gives for p in plan.procedures) != 1:
            raise ValueError(f"not one procedure gives the result {name!r}")


def _from_bytes(data: memoryview, length: int) -> Plan:
    at = _HEADER.size + length
    head: dict[str, Any] = json.loads(bytes(data[_HEADER.size : at]))
    constants = []
    for dtype, shape in head.pop("constants"):
        count = int(np.prod(shape))
        constants.append(np.frombuffer(data, dtype, count, at).reshape(shape).copy())
        at += count * np.dtype(dtype).itemsize
    debug = json.loads(bytes(data[at:]))
    values: dict[str, Any] = {key: _tuples(value) for key, value in head.items()}
    for key, cls in _RECORDS.items():
        values[key] = tuple(_record(cls, row) for row in head[key])
    values["options"] = Options(*head["options"])
    values["procedures"] = tuple(_procedure(*row) for row in head["procedures"])
    return Plan(
        **values,
        constants=tuple(constants),
        origins=tuple(tuple(Origin(*o) for o in p) for p in debug["origins"]),
        source=debug["source"],
        filename=debug["filename"],
    )


_RECORDS: dict[str, type[Any]] = {
    "array_roles": ArrayRole,
    "inputs": Tensor,
    "params": Tensor,
    "feeds": Feed,
    "results": Result,
    "registers": Register,
}
"""Fields of a plan that are tuples of flat records."""

_SPECIAL: dict[str, Callable[[Any], Any]] = {
    "form": Form,
    "domain": Domain,
    "lo": float.fromhex,
    "hi": float.fromhex,
    "promise": lambda row: None if row is None else _record(Promise, row),
}
"""Fields of records that JSON cannot hold as they are."""


def _record(cls: type[Any], row: list[Any]) -> Any:
    """A dataclass from its fields in order."""
    named = zip((f.name for f in fields(cls)), row, strict=True)
    return cls(*(_SPECIAL[name](value) if name in _SPECIAL else _tuples(value) for name, value in named))


def _procedure(
    name: str, ahead: bool, standing: bool, keeps: list[Any], ops: list[Any], rounds: list[Any]
) -> Procedure:
    return Procedure(
        name,
        ahead,
        standing,
        tuple(Kept(*kept) for kept in keeps),
        tuple(Op(GATES[kind](*_tuples(values)), receiver) for (kind, *values), receiver in ops),
        tuple(Round(*_tuples(r)) for r in rounds),
    )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """JSON data: records as lists of their fields, gates with their name in front, floats in hexadecimal."""
    if isinstance(value, Gate):
        return [type(value).__name__, *(_plain(getattr(value, f.name)) for f in fields(value))]
    if isinstance(value, (Form, Domain)):
        return value.value
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "__dataclass_fields__"):
        return [_plain(getattr(value, f.name)) for f in fields(value)]
    return value
