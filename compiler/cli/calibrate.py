"""`mpcc calibrate`: the owner of the weights has ranges written into the source, on their own machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compiler.cli.options import (
    axes_of,
    echo_json,
    load_program,
    pairs,
    program_options,
    read_inputs,
    read_parameters,
    sizes_of,
)

if TYPE_CHECKING:
    from mpc_runtime.errors import CompileError
    from mpc_runtime.program import Program


@click.command(
    help="Write ranges into FILE: of the weights, and of values as the weights prove them. With samples of all inputs, "
    "ranges of values are also measured. All ends are powers of two; whoever has the plan sees them."
)
@program_options
@click.option(
    "--param", "params", multiple=True, required=True, metavar="[NAME=]FILE",
    help="A weights file, or one parameter; repeats.",
)  # fmt: skip
@click.option("--rename", "renames", multiple=True, metavar="OLD=NEW", help="Reads OLD.weight as NEW.weight; repeats.")
@click.option("--lenient", is_flag=True, help="Ignore parameters in the file that the model does not have.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE", help="Samples of an input, any number of rows.")
@click.option("--guard", default=2.0, show_default=True, help="Times the largest value on the samples.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write (default: FILE itself).")
@click.option("--json", "as_json", is_flag=True, help="What was written, as JSON.")
def calibrate(
    file: Path,
    dims: tuple[str, ...],
    network: str | None,
    params: tuple[str, ...],
    renames: tuple[str, ...],
    lenient: bool,
    inputs: tuple[str, ...],
    guard: float,
    output: Path | None,
    as_json: bool,
) -> None:
    from mpc_runtime.analysis.units import human
    from mpc_runtime.errors import CompileError, InputError, amount
    from mpc_runtime.models import calibrated
    from mpc_runtime.plan import MAGIC
    from mpc_runtime.program import with_source

    program, lacks = _program(file, dims, network)
    output = output or file
    if output == file and file.read_bytes().startswith(MAGIC):
        raise click.UsageError(f"{file} is a compiled plan: ranges are written into a .ppml. Name it with -o.")
    rename = pairs(renames, "--rename")
    samples = read_inputs(inputs, axes_of(program.plan)) if inputs else None
    weights = read_parameters(params, axes_of(program.plan))
    found = calibrated(program, weights, samples, guard, strict=not lenient, rename=rename)
    try:
        after = with_source(program, found.source)
    except CompileError:
        if lacks is None:
            raise
        more = "" if samples else "; with samples of all inputs, --input NAME=FILE, ranges are measured too"
        raise CompileError(f"{lacks}\nwhat the weights show does not suffice{more}", lacks.diagnostics) from None
    try:
        output.write_text(found.source, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from None
    costs = [(p.cost.online_bytes, p.cost.offline_bytes) for p in ((program, after) if lacks is None else (after,))]
    if as_json:
        rows = [{"line": w.line, "what": w.what, "lo": w.range.lo, "hi": w.range.hi, "kind": w.kind}
                for w in found.written]  # fmt: skip
        before = [] if lacks is None else [None]
        echo_json({"file": str(output), "ranges": rows, "online_bytes": before + [c[0] for c in costs],
                   "offline_bytes": before + [c[1] for c in costs]})  # fmt: skip
        return
    for written in found.written:
        click.echo(f"  line {written.line:>4}  {written.kind:<12} {written.range!s:<20} {written.what}")
    online, offline = (" -> ".join(map(human, each)) for each in zip(*costs, strict=True))
    click.echo(f"{output}: {amount(len(found.written), 'range')}; a run sends {online} online, {offline} offline")


def _program(file: Path, dims: tuple[str, ...], network: str | None) -> tuple[Program, CompileError | None]:
    """The program, and why it does not compile, if it does not: it may only lack the ranges that are to be written."""
    from compiler.pipeline import sketched
    from dsl.errors import SourceErrors
    from mpc_runtime.errors import CompileError
    from mpc_runtime.program import Program
    from mpc_runtime.sources import read_source

    try:
        return load_program(file, dims, network), None
    except CompileError as error:
        filename, text = read_source(file)
        try:
            stages = sketched(text, filename, sizes_of(dims), network or "lan")
        except SourceErrors:
            raise error from None
        return Program(stages.plan, stages.warnings, _stages=stages), error
