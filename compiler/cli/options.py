"""What several commands have in common: the program in FILE, name=value options, values from files, tables and JSON."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import numpy as np

    from mpc_runtime.plan import Plan
    from mpc_runtime.program import Program

F = TypeVar("F", bound=Callable[..., Any])

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
SHOWN_ELEMENTS = 40  # of a result that is printed
PLAN_MAGIC = b"PPMLPLAN"
SIZE_DIGITS = 18  # of a size that any machine could hold
CHECKED = "compiler.cli.checked"


def program_options(command: F) -> F:
    """FILE, --dim, --network and --checked: what `load_program` takes (the last by way of the command's context)."""
    checked = click.option(
        "--checked",
        is_flag=True,
        expose_value=False,
        callback=_remember_checked,
        help="Check the promised ranges (`x = … in [lo, hi]`) in every run, and reveal whether they hold.",
    )
    network = click.option("--network", metavar="NET", help="lan, wan or rtt=40ms,bandwidth=100Mbps  [default: lan]")
    dims = click.option("--dim", "dims", multiple=True, metavar="NAME=N", help="Override a size in FILE; repeats.")
    command = dims(network(checked(command)))
    return click.argument("file", type=click.Path(path_type=Path))(command)


def linger_option(command: F) -> F:
    """--linger, in seconds."""
    return click.option(
        "--linger",
        type=_Duration(),
        default="0ms",
        show_default=True,
        help="How long p0 lets a query wait for others that share its run, such as 5ms. Where rows meet, none do.",
    )(command)


class _Duration(click.ParamType[float]):
    """A time such as 5ms; its value is in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s)", str(value))
        if found is None:
            self.fail(f"expected a time such as 5ms or 0.5s, found {value!r}", param, ctx)
        return float(found[1]) * UNITS[found[2]]


def _remember_checked(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    context.meta[CHECKED] = value
    return value


def load_program(file: Path, dims: Sequence[str], network: str | None, checked: bool = False) -> Program:
    """The program in a .ppml file or a plan, told apart by their first bytes. The compiler's warnings go to stderr, but
    for a program that is `checked` though nobody asked for it: they were told."""
    from mpc_runtime.errors import CompileWarning, InputError
    from mpc_runtime.program import compile, load
    from mpc_runtime.sources import looks_like_text

    try:
        with file.open("rb") as opened:
            compiled = opened.read(len(PLAN_MAGIC)) == PLAN_MAGIC
    except OSError as error:
        if looks_like_text(str(file)):
            raise InputError("that looks like a model's text; FILE is the name of a file that holds it") from None
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    if compiled:
        if dims or network or is_checked():
            raise click.UsageError(f"{file} is a compiled plan: its sizes and options are fixed. Give the .ppml.")
        return load(file)
    sizes = sizes_of(dims)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)  # shown here, without the line of a Python file
        program = compile(file, dims=sizes, network=network or "lan", checked=checked or is_checked())
    if not checked:
        show_warnings(program)
    return program


def sizes_of(dims: Sequence[str]) -> dict[str, int]:
    """--dim NAME=N: name -> size."""
    sizes = {}
    for name, value in pairs(dims, "--dim").items():
        if not (value.isascii() and value.isdigit()) or not value.strip("0"):
            raise click.BadParameter(f"expected a whole number from 1, found {value!r}", param_hint="--dim")
        if len(value) > SIZE_DIGITS:
            message = f"expected a number of at most {SIZE_DIGITS} digits, found one of {len(value)}"
            raise click.BadParameter(message, param_hint="--dim")
        sizes[name] = int(value)
    return sizes


def is_checked() -> bool:
    """Whether the command in progress was given --checked."""
    return bool(click.get_current_context().meta.get(CHECKED, False))


def show_warnings(program: Program) -> None:
    """Prints what the compiler warns of, as it prints errors."""
    if program.warnings:
        from dsl.errors import render

        click.echo(render(program.warnings, program.plan.source), err=True)


def pairs(values: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE options as a dict."""
    found: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise click.BadParameter(f"expected NAME=VALUE, found {text!r}", param_hint=option)
        if name in found:
            raise click.BadParameter(f"{name} is given twice", param_hint=option)
        found[name] = value
    return found


def read_inputs(options: Sequence[str], axes: Mapping[str, int]) -> dict[str, np.ndarray[Any, Any]]:
    """--input NAME=FILE: name -> array. axes: as of `axes_of`."""
    from mpc_runtime.roles.files import read

    return {name: read(path, axes.get(name)) for name, path in pairs(options, "--input").items()}


def axes_of(plan: Plan, *, alone: bool = False) -> dict[str, int]:
    """How many axes each input and parameter has, as a session of all roles takes it; `alone`, as one of its roles."""
    return {t.name: len(t.shape) + (t.stacked and not alone) for t in (*plan.inputs, *plan.params)}


def read_parameters(options: Sequence[str], axes: Mapping[str, int]) -> dict[str, np.ndarray[Any, Any]]:
    """--param FILE (all that is in it) or --param NAME=FILE, later ones first: name -> array. axes: as of `axes_of`."""
    from mpc_runtime.roles.files import read, read_many

    found: dict[str, np.ndarray[Any, Any]] = {}
    for option in options:
        name, equals, path = option.partition("=")
        if equals and not Path(option).exists():
            found[name] = read(path, axes.get(name))
        else:
            found |= read_many(option)
    return found


def write_results(results: Mapping[str, np.ndarray[Any, Any]], options: Sequence[str]) -> list[str]:
    """--output NAME=FILE, or FILE for all that no other option names. Returns the names that were written."""
    from mpc_runtime.roles.files import write

    check_outputs(options, list(results))
    written: list[str] = []
    for name, path in pairs([option for option in options if "=" in option], "--output").items():
        write(path, {name: results[name]})
        written.append(name)
    rest = {name: value for name, value in results.items() if name not in written}
    for path in [option for option in options if "=" not in option]:
        write(path, rest)
        written += rest
    return written


def output_names(plan: Plan, roles: Sequence[str], stage: str) -> list[str]:
    """What the users of these roles may ask for, of one procedure: all but the checks of a plan compiled as checked."""
    given = plan.procedure(stage).gives
    return [r.name for r in plan.results if not r.promises and r.name in given and set(roles) & set(r.roles)]


def check_outputs(options: Sequence[str], names: Sequence[str]) -> None:
    """InputError for an --output that will not be there, or cannot be written, before anything has run."""
    from mpc_runtime.roles.files import check_writable

    named = pairs([option for option in options if "=" in option], "--output")
    expect_outputs(list(named), names)
    for path in named.values():
        check_writable(path, 1)
    for path in (option for option in options if "=" not in option):
        check_writable(path, len(names) - len(named))


def expect_outputs(wanted: Sequence[str], names: Sequence[str]) -> None:
    """InputError for an output that is none of these."""
    from mpc_runtime.errors import InputError

    for name in wanted:
        if name not in names:
            raise InputError(
                f"--output {name}: no such output; the plan has {', '.join(names) or 'none for this role'}"
            )


def show_results(results: Mapping[str, np.ndarray[Any, Any]], written: Sequence[str]) -> None:
    """Prints results that were not written to files, shortened when they are long."""
    import numpy as np

    for name, value in results.items():
        if name not in written:
            text = np.array2string(value, precision=6, suppress_small=True, threshold=SHOWN_ELEMENTS, edgeitems=3)
            click.echo(f"{name} {list(value.shape)}\n{text}")


def plain(results: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Results as JSON data."""
    return {name: value.tolist() for name, value in results.items()}


def echo_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2))
