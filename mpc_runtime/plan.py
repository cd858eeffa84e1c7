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
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .errors import number
from .gates import Gate
from .privacy.noise import Law
from .procedure import EVALUATE, TRAIN_STEP, TRAINING, Procedure
from .registers import Domain, Form, Register

FORMAT = 10
"""Plan format: raised whenever a plan's bytes would mean something else."""

MAGIC = b"PPMLPLAN"
HEADER = struct.Struct("<8sIQ")
APART = ("constants", "origins", "source", "filename")
"""Fields of a plan that do not stand in its head."""

BATCH = "batch"
"""The dim of rows."""


@dataclass(frozen=True)
class Options:
    """What the compiler was asked for beside the source. network: as `compile` takes it. checked: whether every run
    reveals if the promises of the source hold, and if values stay in the format."""

    network: str
    checked: bool


@dataclass(frozen=True)
class ArrayRole:
    """Several roles that the source declares under one name, as `hospital[3]`; each has keys and tensors of its own."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Norm:
    """A contract on weights: the magnitudes of an output's weights sum to at most `l1`, as they are stored. outputs:
    the axis of the outputs. groups: in so many the first axis falls, if it is not that one, and an output has the
    weights of one."""

    l1: float
    outputs: int
    groups: int


@dataclass(frozen=True)
class Tensor:
    """An input or parameter as its owner gives it. dims: the name of the dim of each axis, or "".

    stages: the procedures for which its owner gives it; stacked: every member of an array role has such a tensor; the
    model sees them along a new first axis. flipped: the epsilon at which its client answers at random in the place of
    its bits; 0 where it does not.
    """

    name: str
    role: str
    kind: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    lo: float
    hi: float
    public: bool
    stages: tuple[str, ...]
    stacked: bool = False
    flipped: float = 0.0
    norm: Norm | None = None


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
    """What the source says of a value in this line: `value = EXPR in [lo, hi]`. place: among the promises checked.

    norm: it is the compiler's, without which it could not prove the range of what is computed from the value: every
    vector of it that is multiplied with others has an L2 norm of at most `hi`.
    """

    value: str
    line: int
    lo: float
    hi: float
    place: int
    norm: bool = False

    @property
    def claim(self) -> str:
        """What holds of all of the value."""
        if self.norm:
            return f"each vector of `{self.value}` has a norm of at most {number(self.hi)}"
        return f"all of `{self.value}` lies in [{number(self.lo)}, {number(self.hi)}]"

    def __str__(self) -> str:
        text = f"{self.value} (line {self.line}) in [{number(self.lo)}, {number(self.hi)}]"
        if self.norm:
            text = f"norm of {self.value} (line {self.line}) at most {number(self.hi)}"
        return f"{text} #{self.place + 1}" if self.place else text


Known = Literal["compiled", "provided", "measured", "claimed"]


@dataclass(frozen=True)
class Claim:
    """A promise of the source about a value that the parties compute, and how it is known to hold.

    known: "compiled", the ranges of the source prove it, as its compiler says; "provided", the client of `owner` tries
    to prove it with the real weights; "measured", on samples, and nobody tries to prove it; "claimed", by the author
    alone. What one role's client computes is no claim: the client checks every number.
    """

    value: str
    line: int
    lo: float
    hi: float
    known: Known
    owner: str = ""

    def __str__(self) -> str:
        return f"`{self.value}` (line {self.line}) in [{number(self.lo)}, {number(self.hi)}]"


@dataclass(frozen=True)
class Noise:
    """What hides the data of one person in a result. law: "laplace" or "gaussian", drawn in whole steps of what is
    stored.

    sensitivity: how far taking one row out of an owner's input moves the result, in L1 (laplace) or L2 (gaussian);
    proved: whether the compiler says so, or else the author. rounding: how much further, in what is stored. made_by:
    "dealer" or "parties".
    """

    law: Law
    epsilon: float
    delta: float
    sensitivity: float
    rounding: float
    proved: bool
    made_by: Literal["dealer", "parties"]


@dataclass(frozen=True)
class Budget:
    """What may be learnt of the input `source` of a role: all releases together."""

    source: str
    role: str
    epsilon: float
    delta: float


@dataclass(frozen=True)
class Privacy:
    """What hides single rows in training. clip: the gradient of each row has at most this L2 norm; noise: the deviation
    of the noise in their sum, in units of that norm; delta: at which the epsilon of training is told.

    batch: rows of a step on average; most: for how many it has room. unit: gradients are held so many times, with the
    mantissa of the learning rate; rounding: how much longer one may be as it is held.
    """

    clip: float
    noise: float
    delta: float
    batch: int
    most: int
    unit: float
    rounding: float

    @property
    def sensitivity(self) -> float:
        """How far one row moves the sum, as it is held. A little more, for the roundings of this product."""
        return (self.unit * self.clip + self.rounding) * (1 + 2.0**-40)


@dataclass(frozen=True)
class Result:
    """What roles are sent and decode. scale and bits are those of the ring element that is sent. promises: of checks,
    those of which its bits say whether they were kept: of one its bit, of several a vector. noise: what is added before
    anybody learns it, if it is a private release."""

    name: str
    roles: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    domain: Domain
    bits: int
    scale: int
    promises: tuple[Promise, ...] = ()
    noise: Noise | None = None

    def kept(self, bits: np.ndarray) -> tuple[tuple[Promise, bool], ...]:
        """Each promise, and whether the result, as it is decoded, says that it was kept."""
        return tuple(zip(self.promises, np.ravel(bits).astype(bool).tolist(), strict=True))


@dataclass(frozen=True)
class Origin:
    """Where an op comes from: what the author wrote, and which part of a step of training it is. Outside the hash."""

    label: str
    line: int
    column: int
    part: str = ""


@dataclass(frozen=True)
class State:
    """What training leaves in a register from step to step. unit: it is so many times what its name says: the sum of
    gradients in a momentum is held with the mantissa of the learning rate in it."""

    name: str
    register: int
    unit: float


@dataclass(frozen=True)
class Metric:
    """What training adds up in shares and tells once an epoch. name: "accuracy" or "loss"; result: what is told.

    validation: whether it is of rows that training does not learn from. The mean is the sum times `share`, over the
    number of these rows, or else of the epoch's steps; the sum has room for at most `most` of them.
    """

    name: str
    result: str
    validation: bool
    share: float
    most: int


@dataclass(frozen=True)
class Coins:
    """A tensor that a role's client draws for each step of training: 1 with probability `keep`, else 0."""

    tensor: str
    keep: float


@dataclass(frozen=True, eq=False)
class Plan:
    """A compiled program. `origins[procedure name][op]` and `source` are for people, outside the hash.

    bits, frac: the number format of `fixed` values. roles: every one, the members of `array_roles` among them.
    privacy: of training, where it hides single rows. model: what the checkpoints of a plan that trains are bound to; it
    is the same where plans differ in their learning rate alone. constants: whoever makes the plan, they become aligned,
    C-contiguous, read-only arrays in the machine's byte order.
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
    constants: tuple[np.ndarray, ...]
    budgets: tuple[Budget, ...] = ()
    privacy: Privacy | None = None
    states: tuple[State, ...] = ()
    metrics: tuple[Metric, ...] = ()
    coins: tuple[Coins, ...] = ()
    claims: tuple[Claim, ...] = ()
    model: str = ""
    origins: tuple[tuple[Origin, ...], ...] = ()
    source: str = ""
    filename: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "constants", tuple(_constant(a) for a in self.constants))

    def procedure(self, name: str) -> Procedure:
        return self.procedures[self._places[name]]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {p.name: place for place, p in enumerate(self.procedures)}

    def origin(self, procedure: str, op: int) -> Origin:
        """Where op `op` comes from, or a blank origin for a plan without debug part."""
        return self.origins[self._places[procedure]][op] if self.origins else Origin("", 0, 0)

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
        """What the source asks for of a batch: all results but the checks, and those of training."""
        training = {name for p in self.procedures if p.name in TRAINING for name in p.gives}
        return tuple(r for r in self.results if not r.promises and r.name not in training)

    @property
    def trains(self) -> bool:
        """Whether the model has a `train` block."""
        return any(p.name == TRAIN_STEP for p in self.procedures)

    @property
    def validates(self) -> bool:
        """Whether training can tell metrics of rows that it does not learn from."""
        return any(p.name == EVALUATE for p in self.procedures)

    def watched(self, validated: bool) -> Metric | None:
        """The metric by which training may end early: the first, of validation rows where there are some."""
        return next((each for each in self.metrics if each.validation == validated), None)

    @cached_property
    def array_role_of(self) -> dict[str, str]:
        """Member of an array role -> its name."""
        return {member: array.name for array in self.array_roles for member in array.members}

    def sized(self, tensor: Tensor, stage: str) -> Tensor:
        """An input as a procedure takes it: a step of private training has room for more rows than a run."""
        if self.privacy is None or stage != TRAIN_STEP or BATCH not in tensor.dims:
            return tensor
        sizes = zip(tensor.dims, tensor.shape, strict=True)
        return replace(tensor, shape=tuple(self.privacy.most if dim == BATCH else n for dim, n in sizes))

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

    def head(self) -> bytes:
        """The canonical text of all that the hash covers, but for the constants' elements."""
        head = {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name not in APART}
        head["constants"] = [[_stored(a.dtype).str, list(a.shape)] for a in self.constants]
        return json.dumps(head, sort_keys=True, separators=(",", ":")).encode()

    def _body(self) -> bytes:
        text = self.head()
        arrays = [a.astype(_stored(a.dtype), copy=False).tobytes() for a in self.constants]
        return HEADER.pack(MAGIC, FORMAT, len(text)) + text + b"".join(arrays)

    def to_bytes(self) -> bytes:
        debug = {"origins": plain(self.origins), "source": self.source, "filename": self.filename}
        return self._body() + json.dumps(debug, sort_keys=True, separators=(",", ":")).encode()

    def save(self, path: str | os.PathLike[str]) -> None:
        Path(path).write_bytes(self.to_bytes())


def _stored(dtype: np.dtype) -> np.dtype:
    order: np.dtype = dtype.newbyteorder("<")
    return order


def _constant(array: np.ndarray) -> np.ndarray:
    """The elements as a plan holds them, without a copy where they lie so: a view that is only read."""
    view: np.ndarray = np.require(array, array.dtype.newbyteorder("="), ("C_CONTIGUOUS", "ALIGNED")).view()
    view.flags.writeable = False
    return view


def plain(value: Any) -> Any:
    """JSON data: records as lists of their fields, gates with their name in front, floats in hexadecimal."""
    kind: Any = type(value)
    if kind is int or kind is str:  # nearly all of them
        return value
    if kind is tuple:
        return [plain(v) for v in value]
    if (names := _names(kind)) is not None:
        row = [plain(getattr(value, name)) for name in names]
        return [kind.__name__, *row] if issubclass(kind, Gate) else row
    if isinstance(value, (Form, Domain)):
        return value.value
    return value.hex() if isinstance(value, float) else value


@cache
def _names(kind: Any) -> tuple[str, ...] | None:
    """Of the fields of a record; None for what is none."""
    return tuple(f.name for f in fields(kind)) if is_dataclass(kind) else None
