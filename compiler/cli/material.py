"""`mpcc deal` and `mpcc store`: material ahead of time, and the stores that hold it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compiler.cli.options import echo_json, load_program, program_options

if TYPE_CHECKING:
    from mpc_runtime.store.report import Status


@click.command(
    help="Deal material for FILE ahead of time: OUTPUT/p0 and OUTPUT/p1, which the parties use with --material."
)
@program_options
@click.option("--runs", type=click.IntRange(1), required=True, help="Runs for each setup.")
@click.option(
    "--setups",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How often parameters can be opened, each time for --runs runs.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A folder that is not there yet.")
@click.option("--json", "as_json", is_flag=True, help="What was dealt, as JSON.")
def deal(
    file: Path, dims: tuple[str, ...], network: str | None, runs: int, setups: int, output: Path, as_json: bool
) -> None:
    from mpc_runtime.analysis.units import human
    from mpc_runtime.errors import amount
    from mpc_runtime.program import deal as deal_program

    program = load_program(file, dims, network)
    dealt = deal_program(program, output, runs=runs, setups=setups)
    if as_json:
        echo_json({**dealt.to_dict(), "plan": program.plan.name, "plan_hash": program.plan.hash})
        return
    click.echo(
        f"dealt {amount(setups, 'time')} {amount(runs, 'run')} of {program.plan.name} in "
        f"{dealt.seconds:.1f} s, store {dealt.id[:16]}"
    )
    for name, size in zip(("p0", "p1"), dealt.bytes, strict=True):
        click.echo(f"  {output / name}: {human(size)} for {name}")
    click.echo("a store is as secret as a key: bring each to its party, and to nobody else", err=True)


@click.group(help="Look at stored material, or give up some of it.")
def store() -> None:
    pass


@store.command(help="What a store holds: records that are left, bytes, parameters. May be asked while it is in use.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(folder: Path, as_json: bool) -> None:
    from mpc_runtime.store.report import status as look

    found = look(folder)
    if as_json:
        echo_json(found.to_dict())
    else:
        _show(found)


def _show(found: Status) -> None:
    from mpc_runtime.analysis.units import human

    click.echo(f"store {found.id[:16]} of p{found.party}, plan {found.plan} {found.plan_hash[:16]}")
    left = ", ".join(f"{count} of {name}" for name, count in found.left.items())
    click.echo(f"left: {left or 'nothing'}, {human(found.bytes)}; {human(found.disk_bytes)} on the disk")
    click.echo(f"next record: {found.next} of {found.records}")
    for each in found.dealings:
        counts = ", ".join(f"{count} {name}" for name, count in each.left.items())
        span = f"records {each.first} to {each.first + each.records - 1}"
        click.echo(f"  dealing {each.number}: {span}; left {counts}; used {each.used}, burnt or reserved {each.burnt}")
    click.echo(f"parameters of: {', '.join(found.parameters) or 'nobody'}")
    click.echo(f"setup: {'none yet' if found.setup is None else f'record {found.setup}'}")


@store.command(
    help="Read all that is left and compare it with what the dealer wrote. Exit code 1 if it is not the same."
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="What is wrong, as JSON.")
def verify(folder: Path, as_json: bool) -> int:
    from mpc_runtime.sessions.progress import shown
    from mpc_runtime.store.report import verify as compare

    with shown(None, "records") as report:
        wrong = compare(folder, report)
    if as_json:
        echo_json({"path": str(folder), "wrong": wrong})
    else:
        for problem in wrong:
            click.echo(problem)
        if not wrong:
            click.echo(f"{folder}: ok")
    return 1 if wrong else 0


@store.command(help="Move newly dealt material, in the folder NEW, to a store: at both parties, in one order.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def add(folder: Path, new: Path, as_json: bool) -> None:
    from mpc_runtime.errors import amount
    from mpc_runtime.store.adding import add as move

    added = move(folder, new)
    if as_json:
        echo_json({"path": str(folder), "added": added})
    else:
        click.echo(f"{folder}: {amount(added, 'record')} more")


@store.command(help="Erase the data of records that can no longer be used. The store must not be in use.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def prune(folder: Path, as_json: bool) -> None:
    from mpc_runtime.analysis.units import human
    from mpc_runtime.store.report import prune as erase

    freed = erase(folder)
    if as_json:
        echo_json({"path": str(folder), "freed": freed})
    else:
        click.echo(f"{folder}: {human(freed)} given back")


@store.command(help="Give up all records below --to, as when a copy of the store may have used them.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--to", type=click.IntRange(0), required=True, help="The lowest record that may still be used.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def burn(folder: Path, to: int, as_json: bool) -> None:
    from mpc_runtime.errors import amount
    from mpc_runtime.store.report import burn as give_up

    burnt = give_up(folder, to)
    if as_json:
        echo_json({"path": str(folder), "burnt": burnt})
    else:
        click.echo(f"{folder}: {amount(burnt, 'record')} burnt; the next is {to}")
