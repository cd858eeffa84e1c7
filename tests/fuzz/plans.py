"""Mutated plans: loading a file ends with a verified plan or with a typed error, and what is verified can be executed.

A case is a plan of the zoo with a few changes: of its bytes, or of the data that they hold, written canonically again
so that only the verifier stands in the way. What loads all the same is executed by both parties and the dealer, in
this process, on zeros. The long run bounds time and memory too, and notices a process that dies:

    python -m tests.fuzz.plans --plans 100000 --seed 1
    python -m tests.fuzz.plans --seed 1 --only 4711                  # one of them, with its changes
"""

from __future__ import annotations

import json
import sys
import warnings
from copy import deepcopy
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np

import mpc_runtime as mpc
from mpc_runtime.analysis.memory import BASE, peak_memory
from mpc_runtime.plan import FORMAT, HEADER, MAGIC, Plan
from mpc_runtime.plan_file import read
from mpc_runtime.registers import Domain
from tests import zoo
from tests.fuzz import longrun
from tests.traced import STAGES, trace

ROOM = 50_000_000  # bytes beside an idle party's that a case may take to be executed
LETTERS = ("", "x", "y", "a", "b", "run", "setup", "lt", "eq", "words", "bits", "planes", "wire", "bare", "shared",
           "offset", "public", "constant", "sigmoid", "exp", "fixed", "int", "\n", "`", "é", "0x1p+0", "nan", "inf",
           "-inf")  # fmt: skip
NUMBERS = (0, 1, 2, 3, 5, 7, 8, 16, 31, 32, 63, 64, 65, 127, 512, 1 << 16, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 32,
           (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 65, 10**400)  # fmt: skip


@lru_cache(maxsize=1)
def bases() -> tuple[bytes, ...]:
    """Plans with every gate among them, small enough to be executed often."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, (_, text) in enumerate(zoo.sources()):
            found.append(mpc.compile(text=text, network=("lan", "wan")[number % 2], checked=number % 3 == 0).plan)
    return tuple(plan.to_bytes() for plan in found)


# -- mutations ---------------------------------------------------------------------------------------------------------


def mutated(seed: int, number: int) -> tuple[bytes, list[str]]:
    """Case `number` of a run: a file, and what was changed in it."""
    random = Random(f"{seed}/{number}")
    data = random.choice(bases())
    if random.random() < 0.1:
        return _bytes_changed(random, data)
    head, rest = _parts(data)
    done = [_change(random, head) for _ in range(random.choice((1, 1, 1, 1, 2, 3)))]
    text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
    return HEADER.pack(MAGIC, FORMAT, len(text)) + text + rest, done


def _parts(data: bytes) -> tuple[Any, bytes]:
    """The head, as data, and what stands behind it."""
    _, _, length = HEADER.unpack_from(data)
    return json.loads(data[HEADER.size : HEADER.size + length]), data[HEADER.size + length :]


def _bytes_changed(random: Random, data: bytes) -> tuple[bytes, list[str]]:
    found = bytearray(data)
    match random.randrange(4):
        case 0:
            del found[random.randrange(len(found)) :]
        case 1:
            found += random.randbytes(random.choice((1, 8, 1000)))
        case 2:
            at = random.randrange(len(found))
            found[at : at + random.choice((0, 1, 4))] = random.randbytes(random.choice((1, 4, 8)))
        case _:
            nested = b"[" * 100_000
            found[HEADER.size :] = nested
            found[: HEADER.size] = HEADER.pack(MAGIC, FORMAT, len(nested))
    return bytes(found), ["bytes"]


def _change(random: Random, head: Any) -> str:
    """Changes one place of the data."""
    where, holder, key = _place(random, head)
    old = holder[key]
    holder[key] = new = _other(random, old, head)
    return f"{where}: {json.dumps(old)[:60]} -> {json.dumps(new)[:60]}"


def _place(random: Random, head: Any) -> tuple[str, Any, Any]:
    """A place at random, among the ops most often."""
    field = "procedures" if random.random() < 0.5 else random.choice(("registers", *head))
    places = [(field, head, field)]
    for where, holder, key in places:
        if isinstance(holder[key], list):
            places += [(f"{where}[{n}]", holder[key], n) for n in range(len(holder[key]))]
    return random.choice(places)


def _other(random: Random, old: Any, head: Any) -> Any:
    if random.random() < 0.05:
        return random.choice((None, True, 1.5, "x", [], {}, [[]], 0, old, [old, 1]))
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        near = old + random.choice((-2, -1, 1, 2)), -old, old * 2, old // 2
        return random.choice((*near, *near, random.choice(NUMBERS), -random.choice(NUMBERS)))
    if isinstance(old, str):
        return random.choice(LETTERS)
    if isinstance(old, list):
        return _list(random, old, head)
    return random.choice(NUMBERS)


def _list(random: Random, old: list[Any], head: Any) -> list[Any]:
    new = list(old)
    match random.randrange(5):
        case 0 if new:
            del new[random.randrange(len(new))]
        case 1 if new:
            new.insert(random.randrange(len(new)), random.choice(new))
        case 2 if new:
            one, other = random.randrange(len(new)), random.randrange(len(new))
            new[one], new[other] = new[other], new[one]
        case 3:
            _, holder, key = _place(random, head)
            new.insert(random.randrange(len(new) + 1), deepcopy(holder[key]))
        case _:
            new = []
    return new


# -- the judgement -----------------------------------------------------------------------------------------------------


def finding(data: bytes) -> str | None:
    """What is wrong with the answer to a file, or None."""
    try:
        plan = read(data)
        program = mpc.Program(plan)
        str(program.cost), program.leakage
    except mpc.CompileError:
        return None
    except BaseException as error:
        return longrun.crash(error)
    if peak_memory(plan) > BASE + ROOM or {p.name for p in plan.procedures} != set(STAGES):
        return None
    try:
        trace(plan, _zeros(plan), observe=False)
    except BaseException as error:
        return f"a verified plan cannot be executed: {longrun.crash(error)}"
    return None


def _zeros(plan: Plan) -> dict[str, dict[str, np.ndarray]]:
    kinds = {Domain.WORDS: np.uint64, Domain.BITS: np.uint8}
    given = {feed.name: np.zeros(feed.shape, kinds[feed.domain]) for feed in plan.feeds}
    return {p.name: {name: given[name] for name in p.takes} for p in plan.procedures}


def judged(seed: int, number: int) -> str | None:
    return finding(mutated(seed, number)[0])


def _printed(seed: int, number: int) -> None:
    data, changes = mutated(seed, number)
    print(*changes, sep="\n")
    try:
        print(read(data).name, "is verified")
    except mpc.Error as refused:
        print(refused)


if __name__ == "__main__":
    sys.exit(longrun.main(__doc__, judged, "plans", 100_000, _printed, bases))
