"""The facade: a compiled program, how it is made, and what can be asked of it.

Parties and dealer run without the compiler; only `compile`, `reference` and a client's preparation need the source's
meaning, and they import the compiler when they are called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .analysis.cost import Cost, cost
from .analysis.leakage import manifest
from .encoding.arrays import arrays
from .errors import CompileError, Error, InputError, amount
from .limits import TIMEOUT_SECONDS, WAIT_SECONDS, WINDOW_BYTES
from .plan import APART, Feed, Plan
from .plan_file import load as load_plan
from .procedure import CLOCK
from .proving import prove
from .roles.epochs import check_seed
from .sources import SUFFIX, read_source, warn

if TYPE_CHECKING:
    from compiler.pipeline import Stages
    from compiler.reading.simulation import Simulation
    from dsl.errors import Diagnostic

    from .session import Session
    from .sessions.history import ReferenceFit
    from .store.deal import Dealt

Array = np.ndarray

__all__ = ["Program", "at_batch", "compile", "connect", "deal", "launch", "load", "prepare_feed"]


@dataclass(frozen=True, eq=False, repr=False)
class Program:
    """A compiled model.

    Attributes:
        plan: What every machine runs.
        warnings: The compiler's warnings, as diagnostics.
        weights: Of a model that was imported, its parameters by key; else empty. They are no part of the plan.
    """

    plan: Plan
    warnings: tuple[Diagnostic, ...] = ()
    weights: Mapping[str, Array] = field(default_factory=dict)
    _stages: Stages | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        plan = self.plan
        inputs = dict.fromkeys(f"{t.name} {list(t.shape)}" for t in plan.inputs if not t.name.startswith(CLOCK))
        outputs = (f"{r.name} {list(r.shape)}" for r in plan.outputs)
        given = f"inputs {', '.join(inputs) or 'none'}; {amount(len(plan.params), 'parameter')}"
        return f"<Program {plan.name}, plan {plan.hash[:16]}: {given}; outputs {', '.join(outputs) or 'none'}>"

    @property
    def source(self) -> str:
        """The `.ppml` text; empty for a plan that was stripped of it."""
        return self.plan.source

    @cached_property
    def cost(self) -> Cost:
        """Rounds, bytes and memory, counted from the plan; `.per_op` by source line."""
        return cost(self.plan)

    @property
    def leakage(self) -> tuple[str, ...]:
        """What is revealed to whom, one sentence each, derived from the plan's instructions."""
        return manifest(self.plan)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan file, which every machine of a deployment needs.

        Raises:
            InputError: The file cannot be written.
        """
        try:
            self.plan.save(path)
        except OSError as e:
            raise InputError(f"{path}: cannot be written: {e.strerror}") from None

    def reference(self, inputs: Mapping[str, Any] | None = None, params: Any = None) -> dict[str, Array]:
        """Evaluate the model on plaintext in float64.

        Args:
            inputs: Arrays by name.
            params: Arrays by key, or the path of a weights file.

        Returns:
            An array for each output name.

        Raises:
            InputError: A value is missing, unknown, outside its declared range or does not fit, as in a session. Of a
                model that trains, weights may have any size.
        """
        from compiler.reading.reference import evaluate

        from .sessions.reference import evaluated

        return evaluated(evaluate, self, arrays(inputs, "inputs"), arrays(_weights(params), "params"))

    def simulate(self, inputs: Mapping[str, Any] | None = None, params: Any = None) -> Simulation:
        """Compute the plan's integers in this process, beside float64, and find every value that leaves its range.

        Everything is computed in clear, so use it only with data that you may see.

        Args:
            inputs: Arrays by name.
            params: Arrays by key, or the path of a weights file.

        Raises:
            InputError: A value is missing or does not fit, as in a session.
        """
        from compiler.reading.simulation import simulate

        return simulate(self.plan, self.stages.lowered, arrays(inputs, "inputs"), arrays(_weights(params), "params"))

    def initial_weights(self, seed: int | None = None) -> dict[str, Array]:
        """Weights from which to train: those with which PyTorch's layers begin, and zeros for a bare `param`.

        They are secret like all weights: without a seed they come from the system's randomness.

        Args:
            seed: Gives the same weights every time.

        Raises:
            InputError: A layer is not trained from random weights, or the seed is none.
        """
        from compiler.graph import OpError
        from compiler.training.initial import initial_weights

        try:
            return initial_weights(self.stages.lowered, check_seed(seed) if seed is not None else None)
        except OpError as e:
            raise InputError(e.message) from None

    def reference_fit(
        self,
        inputs: Mapping[str, Any] | None = None,
        params: Any = None,
        *,
        epochs: int = 1,
        seed: int,
        validation: Mapping[str, Any] | None = None,
        patience: int | None = None,
    ) -> ReferenceFit:
        """Train on plaintext in float64, on the same batches as `session.fit` with this seed.

        Args:
            inputs: Arrays by name, with any number of rows.
            params: Arrays by key, or the path of a weights file.
            epochs: How often all rows are used.
            seed: That of `session.fit`. Under `privacy`, it draws the rows; gradients are clipped, and have no noise.
            validation: As of `session.fit`.
            patience: As of `session.fit`.

        Raises:
            InputError: A value is missing or does not fit, or the model has no `train` block.
        """
        from compiler.training.twin import follow

        from .sessions.reference import followed

        given, others = arrays(inputs, "inputs"), None if validation is None else arrays(validation, "validation")
        return followed(follow, self, given, arrays(_weights(params), "params"), epochs, seed, others, patience)

    def emit(self, stage: str) -> str:
        """Print a compiler stage: "ast", "graph", "oplist" or "plan"."""
        from compiler.planning.listing import print_oplist, print_plan
        from compiler.reading.printer import print_graph
        from dsl.printer import dump

        prints: dict[str, Callable[[], str]] = {
            "ast": lambda: dump(self.stages.tree),
            "graph": lambda: print_graph(self.stages.graph),
            "oplist": lambda: print_oplist(self.plan),
            "plan": lambda: print_plan(self.plan),
        }
        if stage not in prints:
            raise InputError(f"emit expects one of {', '.join(prints)}, found {stage!r}")
        return prints[stage]()

    @property
    def stages(self) -> Stages:
        """The compiler's stages; a loaded plan compiles its own source text again."""
        stages = self._stages
        if stages is None:
            stages = _recompiled(self.plan)
            object.__setattr__(self, "_stages", stages)
        return stages


def compile(
    path: str | os.PathLike[str] | None = None,
    *,
    text: str | None = None,
    dims: Mapping[str, int] | None = None,
    network: str = "lan",
    checked: bool = False,
) -> Program:
    """Compile a `.ppml` file, or the text of a model.

    Issues a `CompileWarning` for each of the program's `warnings`.

    Args:
        path: The file.
        text: The text of a model, instead of a path.
        dims: Sizes that override the file's defaults.
        network: "lan", "wan" or "rtt=40ms,bandwidth=100Mbps"; decides between fewer rounds and fewer bytes.
        checked: Make every run reveal, for each promise `x = EXPR in [lo, hi]`, whether it holds, and whether values
            stay in the format where no range proves it; raise an error if one does not.

    Raises:
        CompileError: The model has errors; all of them are in `diagnostics`.
    """
    if (path is None) == (text is None):
        raise InputError("compile expects either a path or text=")
    filename = "<text>"
    if path is not None:
        filename, text = read_source(path)
    if not isinstance(text, str):
        raise InputError(f"compile expects the model's text, found {type(text).__name__}")
    if text.strip().endswith(SUFFIX) and len(text.split()) == 1:
        raise InputError(f"that looks like a path: compile({text!r}), without text=")
    if not isinstance(dims or {}, Mapping):
        raise InputError(f'compile expects dims={{"batch": 8}}, found {dims!r}')
    stages = _compiled(text, filename, dict(dims or {}), network, checked)
    warn(stages.warnings, sys._getframe(1))
    return Program(stages.plan, stages.warnings, _stages=stages)


def connect(
    cluster: str | os.PathLike[str],
    program: Program,
    *,
    role: str,
    key: str | os.PathLike[str] | None = None,
    timeout: float = TIMEOUT_SECONDS,
    wait: float = WAIT_SECONDS,
    retries: int = 0,
) -> Session:
    """A session for one role of servers that are already running.

    Args:
        cluster: The cluster.toml of the deployment.
        program: The program that the servers run.
        role: Your role.
        key: The role's secret key file; by default `ROLE.key` beside the cluster.toml.
        timeout: Seconds a party may take to answer.
        wait: Seconds the other roles of a run may take; after that, the inputs are withdrawn.
        retries: How often in a row a call connects anew and submits its values once more when a server was lost. A run
            that was broken off has computed nothing.

    Raises:
        InputError: The file, the role or the key is wrong.
        PeerError: A party cannot be reached or has another plan.
    """
    _check_program("connect", program)
    from .opening import connect_plan

    return connect_plan(
        Path(cluster),
        program.plan,
        prepare_feed,
        role=role,
        key=key,
        timeout=timeout,
        wait=wait,
        retries=retries,
        variant=partial(at_batch, program),
        prove=partial(prove, program),
    )


def load(path: str | os.PathLike[str]) -> Program:
    """Read a program from a plan file.

    Raises:
        CompileError: The file is not a plan, or has another format version.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"load expects the path of a plan, found {type(path).__name__}")
    return Program(load_plan(path))


def launch(
    program: Program,
    *,
    timeout: float = TIMEOUT_SECONDS,
    window: int = WINDOW_BYTES,
    material: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Session:
    """Start a dealer and both parties as processes on this machine; the session plays all roles.

    Args:
        program: What the machines run.
        timeout: Seconds a machine waits for another.
        window: Bytes of material that the dealer may work ahead of a party.
        material: The folder that `deal` wrote; then no dealer is started. Parameters and what `setup` computed from
            them are kept there too, so that a later session goes on without `provide`.
        data_dir: The folder of the parties' privacy ledgers and checkpoints of training, and of the keys by which they
            know the roles again. Without one, ledgers end with the session, and there are no checkpoints.

    Raises:
        PeerError: A process does not start.
        MaterialError: The stored material is missing, in use, or does not belong to the program.
    """
    _check_program("launch", program)
    from .opening import launch_plan

    plan, at, proof = program.plan, partial(at_batch, program), partial(prove, program)
    return launch_plan(
        plan, prepare_feed, timeout=timeout, window=window, variant=at, prove=proof, material=material, data=data_dir
    )


def deal(
    program: Program,
    path: str | os.PathLike[str],
    *,
    runs: int,
    setups: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> Dealt:
    """Deal material ahead of time: a store for each party, which then need no dealer.

    The stores are as secret as keys. Bring each to its party, over a channel that nobody else can read.

    Args:
        program: What the parties run.
        path: A folder that does not exist yet. The stores are its subfolders `p0` and `p1`.
        runs: How many runs each setup is good for.
        setups: How many times the parameters can be opened: each `provide` takes one, with its runs, and so do the same
            parameters when the runs of the one before are used up.
        progress: Called after each record with the number of records done and of all. By default, a terminal shows a
            progress bar.

    Returns:
        What was dealt: `path`, `id`, `runs`, `setups`, `bytes` for each party, `seconds`.

    Raises:
        InputError: A number is not positive, or there is something at the path.
        MaterialError: The disk is full, or cannot be written.
    """
    _check_program("deal", program)
    from .sessions.progress import shown
    from .store.deal import deal as deal_plan

    with shown(progress, "records") as report:
        return deal_plan(program.plan, path, runs, setups, report)


def _check_program(what: str, program: object) -> None:
    if not isinstance(program, Program):
        raise InputError(f"{what} expects a Program, as compile and load make it, found {program!r}")


def _weights(params: Any) -> Any:
    """Parameters by key, from a mapping or the path of a weights file."""
    if isinstance(params, (str, os.PathLike)):
        from .roles.files import read_many

        return dict(read_many(params))
    return params


def _compiled(text: str, filename: str, dims: dict[str, int], network: str, checked: bool) -> Stages:
    from compiler.pipeline import compile_source
    from dsl.errors import SourceErrors, render

    try:
        return compile_source(text, filename, dims, network, checked)
    except SourceErrors as e:
        raise CompileError(render(e.diagnostics, text), e.diagnostics) from None
    except MemoryError:
        raise CompileError(f"{filename}: compiling takes more memory than there is; use smaller sizes") from None


def _recompiled(plan: Plan) -> Stages:
    """What the source text beside a plan compiles to. It is no part of the hash, so it is not believed either."""
    if not plan.source:
        raise Error(f"the plan of {plan.name} was stripped of its source text, which `reference` needs")
    stages = _compiled_as(plan, plan.source, plan.filename)
    _expect_same(stages.plan, plan, "the source text beside it")
    return stages


def _compiled_as(plan: Plan, text: str, filename: str) -> Stages:
    """A source with the sizes and options of a plan."""
    return _compiled(text, filename, dict(plan.dims), plan.options.network, plan.options.checked)


def _expect_same(found: Plan, plan: Plan, source: str) -> None:
    """CompileError unless a source gave the plan that it is said to be."""
    if plan.version != found.version:
        versions = f"version {plan.version} compiled it, and this is version {found.version}"
        raise CompileError(f"{plan.name}: {versions}: compile {source} again to compare")
    if found.hash != plan.hash:
        parts = [
            f.name for f in fields(plan) if f.name not in APART and getattr(found, f.name) != getattr(plan, f.name)
        ]
        differ = f"they differ in {', '.join(parts)}" if parts else "their constants differ"
        raise CompileError(f"{plan.name}: the plan is not what {source} compiles to: {differ}")


def compiles_to(source: str | os.PathLike[str], program: Program) -> None:
    """Raises CompileError unless the file compiles, with the sizes and options of a program's plan, to that plan."""
    filename, text = read_source(source)
    _expect_same(_compiled_as(program.plan, text, filename).plan, program.plan, filename)


def with_source(program: Program, text: str) -> Program:
    """Another text, compiled with the sizes and options of a program, and with its weights. Raises CompileError."""
    stages = _compiled_as(program.plan, text, program.plan.filename)
    return Program(stages.plan, stages.warnings, program.weights, stages)


def at_batch(program: Program, batch: int) -> Plan | None:
    """The program's plan for another `batch`; None when there is none that computes every row as the program does."""
    from compiler.reading.variants import same_rows

    lowered = program.stages.lowered
    plan = replace(program.plan, dims=tuple({**dict(program.plan.dims), "batch": batch}.items()))
    try:
        stages = _compiled_as(plan, plan.source, plan.filename)
    except CompileError:
        return None
    return stages.plan if same_rows(lowered, stages.lowered) else None


def prepare_feed(plan: Plan, feed: Feed, tensors: Mapping[str, Array]) -> Array:
    """What a role's client shares for a prepared feed: its expression, in float64, of the role's own checked tensors.

    Raises InputError when a promise inside the expression does not hold.
    """
    from compiler.reading import prepared

    return prepared.prepare_feed(plan, feed, tensors)
