"""The table of commands, and how errors are reported: exit code 1 with a message for a user's error, 2 for wrong usage,
130 for Ctrl-C. Everything else is a defect and keeps its traceback."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from keyword import iskeyword
from typing import Any

import click

COMMANDS = {
    "check": ("inspect", "check syntax, types, owners and ranges"),
    "compile": ("inspect", "write the plan, or print a compiler stage"),
    "verify": ("inspect", "check that a plan may be executed, and that it is what a source says"),
    "explain": ("inspect", "show what a model costs, line by line, and what it reveals to whom"),
    "format": ("formatting", "write .ppml files in canonical layout"),
    "lsp": ("lsp", "serve an editor: errors, what a name stands for, and layout"),
    "import": ("importing", "write an ONNX model as a .ppml and its weights"),
    "calibrate": ("calibrate", "write ranges that the weights, and samples, show into the source"),
    "run": ("run", "run all machines as processes on this computer"),
    "train": ("train", "train a model, all machines as processes on this computer"),
    "init-cluster": ("cluster", "write a cluster.toml for this computer, and keys"),
    "keygen": ("cluster", "make a key pair"),
    "dealer": ("cluster", "start the dealer"),
    "party": ("cluster", "start a compute party"),
    "serve": ("services", "run a server of many plans"),
    "deploy": ("services", "offer a plan to the services of a cluster"),
    "approve": ("services", "have a service serve a plan that was offered to it"),
    "fetch": ("services", "fetch and pin a plan that is served"),
    "deal": ("material", "deal material ahead of time, for parties without a dealer"),
    "store": ("material", "look at stored material, or change it: status, verify, add, prune, burn"),
    "provide": ("roles", "provide a role's parameters to the parties"),
    "submit": ("roles", "submit a role's inputs and receive its results"),
    "budget": ("roles", "state what may be released of a role's data, or show what was"),
    "bench": ("bench", "measure this computer's kernels and loopback network"),
    "top": ("top", "show what the servers of a deployment do"),
    "doctor": ("doctor", "find what is wrong with an installation or a deployment"),
}
"""Command -> (module of this package, what it does in a line). In the module the command is a function of its name,
with a `_` behind one that is a keyword of Python."""

EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class _ReaderGone(Exception):
    """The reader of a pipe, `head` for example, has seen enough. Of a BrokenPipeError, click would make an error."""


class _Commands(click.Group):
    """A group whose commands are imported when they are needed."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGone from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"compiler.cli.{COMMANDS[name][0]}")
        function = f"{name}_" if iskeyword(name) else name.replace("-", "_")
        command: click.Command = getattr(module, function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from mpc_runtime import kernels
    from mpc_runtime.plan import FORMAT
    from mpc_runtime.version import VERSION

    click.echo(f"mpcc {VERSION}, plan format {FORMAT}, kernels {kernels.variant()}")
    ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show version, format and kernels.",
)
def mpcc() -> None:
    """Private machine learning with two compute parties and a dealer, from .ppml files.

    FILE is always a .ppml file or a compiled plan.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line and exits with its code."""
    if arguments is None and sys.argv[1:2] in (["party"], ["dealer"], ["serve"]):
        _ignore_hangup()
        if sys.argv[0] != "-":
            from mpc_runtime.servers.heap import restart_with_environment

            restart_with_environment()
    sys.exit(_run(arguments))


def _ignore_hangup() -> None:
    """A server reads its cluster.toml again on SIGHUP (`deployment/revisions.py`). Until it does, one ends nothing."""
    import signal

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result: Any = mpcc.main(arguments, prog_name="mpcc", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except (BrokenPipeError, _ReaderGone):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from mpc_runtime.errors import CompileError, Error

        if not isinstance(error, Error):
            raise
        # a rendered source error starts with its file and line, as editors expect
        click.echo(str(error) if isinstance(error, CompileError) else f"error: {error}", err=True)
        return EXIT_ERROR
