"""`mpcc run`: a dealer, two parties and all roles on this machine; or the same integers in one process."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.cli.options import (
    axes_of,
    check_outputs,
    echo_json,
    load_program,
    output_names,
    pairs,
    plain,
    program_options,
    read_inputs,
    read_parameters,
    show_results,
    write_results,
)

if TYPE_CHECKING:
    from compiler.reading.simulation import Simulation
    from mpc_runtime.program import Program
    from mpc_runtime.session import Session

BATCH = "batch"


@click.command(help="Run FILE with the dealer, both parties and all roles as processes on this machine.")
@program_options
@click.option(
    "--param", "params", multiple=True, metavar="[NAME=]FILE", help="A weights file, or one parameter; repeats."
)
@click.option("--rename", "renames", multiple=True, metavar="OLD=NEW", help="Reads OLD.weight as NEW.weight; repeats.")
@click.option("--lenient", is_flag=True, help="Ignore parameters in the file that the model does not have.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE", help="An input, any number of rows; repeats.")
@click.option(
    "--output", "outputs", multiple=True, metavar="[NAME=]FILE", help="File for a result (default: print it); repeats."
)
@click.option("--dataset", metavar="NAME", help="How you call the data in the parties' privacy ledgers.")
@click.option(
    "--data", "data_dir", type=click.Path(path_type=Path), help="Folder that keeps the parties' privacy ledgers."
)
@click.option("--simulate", is_flag=True, help="Compute in one process, beside float64; report values out of range.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds a machine may take to answer.")
@click.option("--json", "as_json", is_flag=True, help="Results and statistics as JSON.")
def run(
    file: Path,
    dims: tuple[str, ...],
    network: str | None,
    params: tuple[str, ...],
    renames: tuple[str, ...],
    lenient: bool,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    dataset: str | None,
    data_dir: Path | None,
    simulate: bool,
    timeout: float,
    as_json: bool,
) -> int:
    program = load_program(file, dims, network)
    check_outputs(outputs, output_names(program.plan, program.plan.roles, "run"))
    axes = axes_of(program.plan)
    values, weights = read_inputs(inputs, axes), read_parameters(params, axes)
    if simulate:
        return _simulate(program, values, weights, pairs(renames, "--rename"), lenient, outputs, as_json)
    from mpc_runtime.program import launch

    with launch(program, timeout=timeout, data_dir=data_dir) as session:
        if program.plan.params or weights:
            session.provide(weights, strict=not lenient, rename=pairs(renames, "--rename"))
        results = run_rows(session, values, outputs, None, dataset)
        stats = session.stats
    written = write_results(results, outputs)
    if as_json:
        echo_json({"results": plain(results), "stats": {**stats.to_dict(), "per_op": None}})
        return 0
    show_results(results, written)
    click.echo(str(stats), err=True)
    return 0


def run_rows(
    session: Session,
    values: dict[str, Any],
    outputs: Sequence[str],
    meeting: str | None = None,
    dataset: str | None = None,
) -> dict[str, Any]:
    """One run, or as many as the rows along the dim `batch` take, with a progress bar on a terminal. meeting, dataset:
    as of `Session.run`.

    What was computed before an error or Ctrl-C goes to the files of `outputs`.
    """
    from mpc_runtime.errors import Error, Interrupted, amount

    if not any(t.name in values and BATCH in t.dims for t in session.plan.inputs):
        return session.run(values, meeting=meeting, dataset=dataset)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: click.echo(f"warning: {message}", err=True)
            return session.run_batches(values, meeting=meeting, dataset=dataset)
    except (Error, Interrupted) as error:
        if error.done_rows and (written := write_results(error.partial, outputs)):
            click.echo(f"written of {', '.join(written)}: the first {amount(error.done_rows, 'row')}", err=True)
        raise


def _simulate(
    program: Program,
    values: dict[str, Any],
    weights: dict[str, Any],
    rename: dict[str, str],
    lenient: bool,
    outputs: tuple[str, ...],
    as_json: bool,
) -> int:
    """The exit code: 1 when a value leaves its range, since what a real run computes from it is some number."""
    from compiler.reading.simulation import simulate_rows
    from mpc_runtime.roles.files import parameters

    given = parameters(weights, rename, [t.name for t in program.plan.params], strict=not lenient)
    simulation = simulate_rows(program.plan, program.stages.lowered, values, given)
    written = write_results(simulation.results, outputs)
    if as_json:
        echo_json(
            {
                "results": plain(simulation.results),
                "errors": simulation.errors,
                "violations": [violation.__dict__ for violation in simulation.violations],
                "checks": simulation.checks,
            }
        )
    else:
        show_results(simulation.results, written)
        _show_simulation(simulation)
    return 1 if simulation.violations or simulation.broken else 0


def _show_simulation(simulation: Simulation) -> None:
    for name, error in simulation.errors.items():
        click.echo(f"{name}: at most {error:.3g} from float64")
    for promise, kept in simulation.checks.items():
        click.echo(f"promise {promise}: {'kept' if kept else 'broken'}")
    for violation in simulation.violations:
        click.echo(str(violation))
    if simulation.violations:
        click.echo("error: values leave their ranges; a real run would compute wrong numbers from them", err=True)
    elif simulation.broken:
        click.echo("error: a promise is broken; a real run of this plan would be refused", err=True)
    else:
        click.echo("every value stays in its range")
