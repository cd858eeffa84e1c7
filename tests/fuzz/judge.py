"""Runs a program as a user would, and says what is wrong: in the simulator, in executors in memory, in processes.

A `Finding` is an error that the compiler does not place, a result outside what the contract admits, a run that fails,
or rounds and bytes that differ from `program.cost`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

import mpc_runtime as mpc
from mpc_runtime.encoding.fixed_point import decode
from mpc_runtime.execution.simulator import Simulator
from mpc_runtime.plan import Plan
from mpc_runtime.plan_file import read
from tests.fuzz.boxes import Array, Box
from tests.fuzz.programs import Case
from tests.machines import KEYS, Run, encoded, run_plan

COUNTED = (
    "rounds", "online_bytes", "offline_bytes", "setup_rounds", "setup_online_bytes", "setup_offline_bytes",
    "client_bytes",
)  # fmt: skip
TYPES = {"fixed": np.float64, "int": np.int64, "bit": np.bool_}


class Finding(AssertionError):
    """kind: what findings of one cause are likely to have in common."""

    def __init__(self, kind: str, message: str, case: Case) -> None:
        super().__init__(f"{kind}: {message}\n\n{case}")
        self.kind = kind
        self.message = message
        self.case = case


@dataclass(frozen=True)
class Compiled:
    """program: as compiled. plan: as every machine reads it, from bytes."""

    case: Case
    program: mpc.Program
    plan: Plan


def check(case: Case) -> None:
    """Compiled, simulated and, where the case says so, executed; raises a Finding."""
    c = compiled(case)
    results = simulated(c)
    if case.in_memory:
        executed(c, results)
        if all(results[each.name].all() for each in c.plan.results if each.promises):
            simulated_by_the_user(c)  # a run that breaks a limit has no results


def check_launched(case: Case) -> None:
    """Compiled, and run in processes; raises a Finding."""
    launched(compiled(case))


def compiled(case: Case) -> Compiled:
    """Every generated program has a meaning, so a refusal is a finding too, but for what cannot be checked: the program
    is then taken without checks."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = mpc.compile(text=case.text, network=case.network, checked=case.checked)
        return Compiled(case, program, read(program.plan.to_bytes()))
    except mpc.CompileError as e:
        errors = [str(getattr(d, "message", d)) for d in e.diagnostics if d.severity == "error"]
        if case.checked and all("cannot be checked" in error for error in errors):
            return compiled(replace(case, checked=False))
        kinds = [str(getattr(d, "message", d)).split("`")[0][:40] for d in e.diagnostics if d.severity == "error"]
        raise Finding(f"refused: {'; '.join(kinds)}", str(e), case) from None
    except Exception as e:
        raise Finding(f"compiler: {_raised(e)}", repr(e), case) from e


def simulated(c: Compiled) -> dict[str, Array]:
    """The results in the simulator, under the keys of `tests.machines`; they are judged."""
    try:
        simulator = Simulator(c.plan)
        words = {}
        for i, stage in enumerate(("setup", "run")):
            keys = bytes([i]) + KEYS[0][1:], bytes([i]) + KEYS[1][1:]
            feeds = encoded(c.plan, stage, c.case.inputs, c.case.params).values()
            given = {name: array for of_role in feeds for name, array in of_role.items()}
            words = simulator.execute(stage, keys, given)
        results = {r.name: decode(words[r.name].astype(np.uint64), r.bits, r.scale, r.kind) for r in c.plan.results}
    except Exception as e:
        raise Finding(f"simulator: {_raised(e)}", repr(e), c.case) from e
    judge(c, results, "simulator")
    return results


def simulated_by_the_user(c: Compiled) -> None:
    """`program.simulate`: both its results are judged, and no value of these programs leaves its range."""
    try:
        simulation = c.program.simulate(c.case.inputs, c.case.params)
    except Exception as e:
        raise Finding(f"Program.simulate: {_raised(e)}", repr(e), c.case) from e
    checks = {r.name: np.array([simulation.checks[str(p)] for p in r.promises]) for r in c.plan.results if r.promises}
    judge(c, {**simulation.results, **checks}, "Program.simulate")
    judge(c, simulation.reference, "Program.reference")
    if simulation.violations:
        raise Finding("Program.simulate: violations", "\n".join(map(str, simulation.violations)), c.case)


def executed(c: Compiled, expected: Mapping[str, Array]) -> None:
    """Dealer and parties in memory: bit for bit what the simulator gave under the same keys; counts are the cost's."""
    try:
        run = run_plan(c.plan, c.case.inputs, c.case.params)
    except Exception as e:
        raise Finding(f"executor: {_raised(e)}", repr(e), c.case) from e
    for name, value in expected.items():
        if not np.array_equal(run.results[name], value):
            raise Finding("executor: differs from the simulator", f"{name}: {run.results[name]}, {value}", c.case)
    _counted(c, run)


def _counted(c: Compiled, run: Run) -> None:
    cost = c.program.cost
    for stage, prefix in (("setup", "setup_"), ("run", "")):
        stats = run.stats[stage]
        for i, each in enumerate(stats):
            _equal(c, f"{prefix}rounds of p{i}", each.rounds, getattr(cost, f"{prefix}rounds"))
        _equal(c, f"{prefix}online_bytes", sum(s.sent_bytes for s in stats), getattr(cost, f"{prefix}online_bytes"))
        dealt = getattr(cost, f"{prefix}offline_bytes")
        _equal(c, f"{prefix}offline_bytes", sum(s.material_bytes for s in stats), dealt)
        _equal(c, f"{prefix}dealt bytes", run.dealt[stage], dealt)


def _equal(c: Compiled, word: str, counted: int, said: int) -> None:
    if counted != said:
        raise Finding(f"cost: {word.split()[0]}", f"{word}: counted {counted}, program.cost says {said}", c.case)


def launched(c: Compiled) -> None:
    """Dealer and parties as processes; what the session counts is the cost's."""
    try:
        with mpc.launch(c.program) as session:
            if c.case.params:
                session.provide(c.case.params)
            results = session.run(**c.case.inputs)
            stats = session.stats
    except Exception as e:
        raise Finding(f"processes: {_raised(e)}", repr(e), c.case) from e
    judge(c, results, "processes")
    for word in COUNTED:
        _equal(c, word, getattr(stats, word), getattr(c.program.cost, word))


# -- results -----------------------------------------------------------------------------------------------------------


def judge(c: Compiled, results: Mapping[str, Array], where: str) -> None:
    """Raises a Finding for a result that is missing, of another type or shape, or outside its box."""
    promises = {r.name: r for r in c.program.plan.results if r.promises}
    if results.keys() - promises.keys() != c.case.expected.keys():
        raise Finding(f"{where}: results", f"expected {list(c.case.expected)}, found {list(results)}", c.case)
    told = [promises[name].kept(results[name]) for name in results.keys() & promises.keys()]
    broken = [promise for each in told for promise, kept in each if not kept]
    authors = {(claim.line, claim.lo, claim.hi) for claim in c.program.plan.claims}
    own = [each for each in broken if not each.norm and (each.line, each.lo, each.hi) in authors]
    if len(own) < len(broken):  # a limit of the compiler's, for numbers of any size: the run is refused
        return
    if own:  # the author's, which the inputs keep
        raise Finding(f"{where}: promise", f"{own[0]} is said to be broken", c.case)
    for name, box in c.case.expected.items():
        found = results[name]
        if found.dtype != TYPES[box.kind] or found.shape != box.shape:
            wanted = f"{TYPES[box.kind].__name__} {list(box.shape)}"
            raise Finding(f"{where}: type", f"{name}: {wanted}, found {found.dtype} {list(found.shape)}", c.case)
        excess = _excess(c.case, found.astype(np.float64), box)
        if excess > 1:
            message = f"{name} leaves what is admitted, {excess:.4g} times the allowed error: found {found.tolist()}"
            raise Finding(f"{where}: {name[0]} {box.kind} beyond the bound", message, c.case)


def _excess(case: Case, found: Array, box: Box) -> float:
    """How far the worst element is from the middle of its box, in half widths of the box (at least half a step)."""
    least = case.format.step / 2 if box.kind == "fixed" else 0.5
    room = np.maximum(box.radius, least)
    inside = (found >= box.lo) & (found <= box.hi)
    return float(np.where(inside, 0.0, np.maximum(np.abs(found - box.middle) / room, 1.001)).max(initial=0.0))


def _raised(error: BaseException) -> str:
    """The type of an error and the function that raised it."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/tests/" not in code.co_filename:
            place = f"{code.co_filename.rpartition('/')[2]}:{code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__} in {place}"
