"""`mpcc check`, `compile`, `verify` and `explain`: what can be known of a model without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.cli.options import echo_json, load_program, program_options

if TYPE_CHECKING:
    from mpc_runtime.program import Program


PAGE = ".html"


@click.command(help="Check FILE: syntax, types, owners and ranges. Prints all errors at once.")
@program_options
@click.option("--json", "as_json", is_flag=True, help="Errors and warnings as JSON.")
def check(file: Path, dims: tuple[str, ...], network: str | None, as_json: bool) -> int:
    from mpc_runtime.errors import CompileError

    if not as_json:
        program = load_program(file, dims, network)
        sizes = ", ".join(f"{name} = {size}" for name, size in program.plan.dims)
        click.echo(f"{file}: ok" + (f" ({sizes})" if sizes else ""))
        return 0
    diagnostics: tuple[Any, ...]
    try:
        diagnostics, wrong = load_program(file, dims, network).warnings, 0
    except CompileError as error:
        diagnostics, wrong = error.diagnostics, 1
        if not diagnostics:
            raise
    echo_json([_diagnostic(d) for d in diagnostics])
    return wrong


@click.command(help="Compile FILE to a plan (FILE.plan unless -o is given), or print a compiler stage.")
@program_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The plan file to write.")
@click.option("--emit", type=click.Choice(["ast", "graph", "oplist", "plan"]), help="Print this stage, write no plan.")
def compile(file: Path, dims: tuple[str, ...], network: str | None, output: Path | None, emit: str | None) -> None:
    program = load_program(file, dims, network)
    if emit:
        text = program.emit(emit)
        if output is None:
            click.echo(text, nl=not text.endswith("\n"))
        else:
            _write_text(output, text)
        return
    output = output or file.with_suffix(".plan")
    program.save(output)
    click.echo(f"{output}: {_summary(program)}")


@click.command(
    help="Check that PLAN may be executed: every op in its place, every type, ring and mask as its gate needs it, and "
    "nothing revealed but what is printed here. With --source, also that it is what this source compiles to."
)
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--source", type=click.Path(path_type=Path), metavar="FILE", help="The .ppml file it should stem from.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def verify(plan: Path, source: Path | None, as_json: bool) -> None:
    from mpc_runtime.errors import amount
    from mpc_runtime.program import compiles_to, load

    program = load(plan)
    if source is not None:
        compiles_to(source, program)
    ops = sum(len(p.ops) for p in program.plan.procedures)
    if as_json:
        said = str(source) if source else None
        echo_json({"plan": program.plan.hash, "ops": ops, "source": said, "leakage": list(program.leakage)})
        return
    click.echo(f"{plan}: verified, {amount(ops, 'op')}" + (f", and what {source} compiles to" if source else ""))
    click.echo(f"plan {program.plan.hash}\n\nrevealed")
    for sentence in program.leakage:
        click.echo(f"  {sentence}")


@click.command(
    help="Show what FILE costs, by source line, the bounds of all values and how they are known, and what is revealed "
    "to whom."
)
@program_options
@click.option("--tighter", is_flag=True, help="Try a narrower promise for each value, and say what it saves.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option(
    "--html", "html", is_flag=False, flag_value="", metavar="[PATH.html]",
    help="Write a page with all of this and the source beside it: FILE.html unless PATH is given.",
)  # fmt: skip
def explain(
    file: Path, dims: tuple[str, ...], network: str | None, tighter: bool, as_json: bool, html: str | None
) -> None:
    from compiler.cli.bounds import bounds, table

    written = None if html is None else _page_path(html, file, as_json)
    program = load_program(file, dims, network)
    ranges = bounds(program, tighter=tighter)
    checking = _checking(file, dims, network, program)
    if written is not None:
        from compiler.cli.page import page

        _write_text(written, page(program, ranges, checking))
        click.echo(f"{written}: written")
        return
    if as_json:
        plan = program.plan
        echo_json(
            {
                "model": plan.name,
                "plan": plan.hash,
                "dims": dict(plan.dims),
                "roles": list(plan.roles),
                "cost": program.cost.to_dict(),
                "ranges": [bound.plain() for bound in ranges],
                "checking": checking,
                "leakage": list(program.leakage),
            }
        )
        return
    click.echo(f"{program.plan.name}, plan {program.plan.hash[:16]}\n")
    click.echo(f"{program.cost}\n")
    click.echo("ranges")
    for line in table(ranges):
        click.echo(line)
    if checking:
        _echo_checking(checking)
    click.echo("\nrevealed")
    for sentence in program.leakage:
        click.echo(f"  {sentence}")


def _page_path(html: str, file: Path, as_json: bool) -> Path:
    """Where the page is written. What follows --html may be a model by mistake, which is not overwritten."""
    if as_json:
        raise click.UsageError("--html and --json exclude each other.")
    path = Path(html) if html else file.with_suffix(PAGE)
    if path.suffix.lower() not in (PAGE, ".htm"):
        raise click.UsageError(f"--html {html}: expected a path that ends in {PAGE}; FILE stands before --html.")
    return path


def _checking(file: Path, dims: tuple[str, ...], network: str | None, program: Program) -> dict[str, Any] | None:
    """What `--checked` would check of a model whose ranges are not all proved, and at what cost; None for others."""
    from mpc_runtime.errors import CompileError

    if program.plan.options.checked or not program.warnings:
        return None
    try:
        checked = load_program(file, dims, network, checked=True)
    except CompileError as error:
        found = [_diagnostic(d) for d in error.diagnostics]
        return {"refused": [d["message"] for d in found if d["severity"] == "error"]}
    plain, cost = program.cost, checked.cost
    return {
        "checks": [str(promise) for r in checked.plan.results for promise in r.promises],
        "rounds": cost.rounds - plain.rounds,
        "online_bytes": cost.online_bytes - plain.online_bytes,
        "offline_bytes": cost.offline_bytes - plain.offline_bytes,
    }


def _echo_checking(checking: dict[str, Any]) -> None:
    from mpc_runtime.analysis.units import human
    from mpc_runtime.errors import amount

    click.echo("\nwith --checked")
    for message in checking.get("refused", ()):
        click.echo(f"  refused: {message}")
    if "checks" in checking:
        rounds, online, offline = (checking[key] for key in ("rounds", "online_bytes", "offline_bytes"))
        more = ", ".join(
            f"{'-' if n < 0 else '+'}{human(abs(n))} {what}" for n, what in ((online, "online"), (offline, "offline"))
        )
        click.echo(f"  {amount(rounds, 'round', sign='+')}, {more} a run; each run says whether these were kept:")
        for promise in checking["checks"]:
            click.echo(f"  {promise}")


def _write_text(path: Path, text: str) -> None:
    from mpc_runtime.errors import InputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _summary(program: Program) -> str:
    from mpc_runtime.analysis.units import human
    from mpc_runtime.errors import amount

    cost = program.cost
    return (
        f"{amount(cost.rounds, 'round')}, {human(cost.online_bytes)} online, {human(cost.offline_bytes)} offline a "
        f"run; plan {program.plan.hash[:16]}"
    )


def _diagnostic(d: Any) -> dict[str, Any]:
    return {
        "file": d.file,
        "line": d.line,
        "column": d.column,
        "end_line": d.end_line,
        "end_column": d.end_column,
        "severity": d.severity,
        "message": d.message,
        "help": d.help,
    }
