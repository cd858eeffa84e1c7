"""`mpcc provide`, `mpcc submit` and `mpcc budget`: a data owner's part in a deployment."""

from __future__ import annotations

from dataclasses import asdict
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
from compiler.cli.run import run_rows

if TYPE_CHECKING:
    from mpc_runtime.plan import Plan


def _role_options(command: click.decorators.FC) -> click.decorators.FC:
    for option in (
        click.option("--retries", default=0, show_default=True, help="Times to try again when a server was lost."),
        click.option("--wait", default=3600.0, show_default=True, help="Seconds other roles and servers may take."),
        click.option("--timeout", default=60.0, show_default=True, help="Seconds a party may take to answer."),
        click.option("--key", type=click.Path(path_type=Path), help="Secret key file  [default: ROLE.key beside it]"),
        click.option("--cluster", default="cluster.toml", show_default=True, type=click.Path(path_type=Path)),
        click.option("--role", help="Your role; needed where more than one is possible."),
    ):
        command = option(command)
    return command


@click.command(help="Provide a role's parameters to the parties, which keep them until they are replaced.")
@program_options
@click.option("--param", "params", multiple=True, required=True, metavar="[NAME=]FILE", help="Weights; repeats.")
@click.option("--rename", "renames", multiple=True, metavar="OLD=NEW", help="Reads OLD.weight as NEW.weight; repeats.")
@click.option("--lenient", is_flag=True, help="Ignore parameters in the file that the role does not have.")
@_role_options
def provide(
    file: Path,
    dims: tuple[str, ...],
    network: str | None,
    params: tuple[str, ...],
    renames: tuple[str, ...],
    lenient: bool,
    role: str | None,
    cluster: Path,
    key: Path | None,
    timeout: float,
    wait: float,
    retries: int,
) -> None:
    from mpc_runtime.program import connect
    from mpc_runtime.roles.files import parameters
    from mpc_runtime.roles.inputs import check_names

    program = load_program(file, dims, network)
    role = _known_role(program.plan, role) or _only_role(program.plan, "setup")
    known = [t.name for t in program.plan.params if t.role == role]
    given = read_parameters(params, axes_of(program.plan, alone=True))
    weights = parameters(given, pairs(renames, "--rename"), known, strict=not lenient)
    check_names(program.plan, role, list(weights), "setup")
    with connect(cluster, program, role=role, key=key, timeout=timeout, wait=wait, retries=retries) as session:
        session.provide(weights)
    click.echo(f"p0 and p1 hold the parameters of {role}")


@click.command(help="Submit a role's inputs to the parties, wait for the other roles, and receive its results.")
@program_options
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE", help="An input, any number of rows; repeats.")
@click.option(
    "--output", "outputs", multiple=True, metavar="[NAME=]FILE", help="File for a result (default: print it); repeats."
)
@click.option(
    "--meeting",
    metavar="NAME",
    help="A name on which the roles of the run have agreed, such as 2026-11.",
)
@click.option("--dataset", metavar="NAME", help="How you call the data in the parties' privacy ledgers.")
@click.option("--json", "as_json", is_flag=True, help="Results and statistics as JSON.")
@_role_options
def submit(
    file: Path,
    dims: tuple[str, ...],
    network: str | None,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    meeting: str | None,
    dataset: str | None,
    as_json: bool,
    role: str | None,
    cluster: Path,
    key: Path | None,
    timeout: float,
    wait: float,
    retries: int,
) -> None:
    from mpc_runtime.program import connect
    from mpc_runtime.roles.inputs import check_names

    program = load_program(file, dims, network)
    role = _known_role(program.plan, role) or _only_role(program.plan, "run")
    check_names(program.plan, role, list(pairs(inputs, "--input")), "run")
    check_outputs(outputs, output_names(program.plan, [role], "run"))
    values = read_inputs(inputs, axes_of(program.plan, alone=True))
    with connect(cluster, program, role=role, key=key, timeout=timeout, wait=wait, retries=retries) as session:
        if others := _others(program.plan, role, meeting):
            click.echo(f"the run begins when {others}", err=True)
        results = run_rows(session, values, outputs, meeting, dataset)
        stats = session.stats
    written = write_results(results, outputs)
    if as_json:
        echo_json({"results": plain(results), "stats": {**stats.to_dict(), "per_op": None}})
        return
    show_results(results, written)
    click.echo(str(stats), err=True)


@click.group(help="What may be released of a role's data, and what was.")
def budget() -> None:
    pass


def _budget_options(command: click.decorators.FC) -> click.decorators.FC:
    for option in (_role_options, click.option("--dataset", required=True, metavar="NAME", help="As in `submit`.")):
        command = option(command)
    return program_options(command)


@budget.command(help="State what may be released of a dataset, in all, by any plan. The smallest limit holds.")
@_budget_options
@click.option("--epsilon", required=True, type=float)
@click.option("--delta", default=0.0, show_default=True, type=float)
def set(epsilon: float, delta: float, **common: Any) -> None:
    _told(common, (epsilon, delta))


@budget.command(help="Show what was released of a dataset, and what may be.")
@_budget_options
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(as_json: bool, **common: Any) -> None:
    _told(common, None, as_json)


def _told(common: dict[str, Any], limit: tuple[float, float] | None, as_json: bool = False) -> None:
    """common: the options of both commands."""
    from mpc_runtime.program import connect

    program = load_program(common.pop("file"), common.pop("dims"), common.pop("network"))
    role = _known_role(program.plan, common.pop("role")) or _only_giver(program.plan)
    dataset, cluster = common.pop("dataset"), common.pop("cluster")
    with connect(cluster, program, role=role, **common) as session:
        told = session.spent(dataset) if limit is None else session.limit(dataset, *limit)
    if as_json:
        echo_json([asdict(each) for each in told.datasets])
    else:
        click.echo(str(told))


def _only_giver(plan: Plan) -> str:
    """The role that gives a run data."""
    roles = [role for role in plan.roles if plan.feeds_of(role, "run")]
    if len(roles) != 1:
        raise click.UsageError(f"--role is needed: one of {', '.join(roles or plan.roles)}")
    return roles[0]


def _others(plan: Plan, role: str, meeting: str | None) -> str:
    """What a run needs of other roles, who may not have come yet."""

    runs = [each for each in plan.roles_of("run") if each != role]
    named = f" for {meeting}" if meeting else ""
    return f"{' and '.join(runs)} {'has' if len(runs) == 1 else 'have'} submitted too{named}" if runs else ""


def _known_role(plan: Plan, role: str | None) -> str | None:
    from mpc_runtime.errors import InputError

    if role is not None and role not in plan.roles:
        raise InputError(f"the plan has no role {role!r}; it has {', '.join(plan.roles)}")
    return role


def _only_role(plan: Plan, stage: str) -> str:

    roles = plan.roles_of(stage)
    if len(roles) != 1:
        raise click.UsageError(f"--role is needed: one of {', '.join(roles or plan.roles)}")
    return roles[0]
