"""`mpcc format`: `.ppml` files in canonical layout, written in place. What that layout is, `dsl/layout.py` says."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

STDIN = Path("-")


@dataclass(frozen=True)
class LaidOut:
    """A file, and its bytes before and after."""

    file: Path
    before: bytes
    after: bytes

    @property
    def is_changed(self) -> bool:
        return self.before != self.after


@click.command(
    help="Write each FILE in canonical layout: blanks, empty lines, indentation and columns. Line breaks within a "
    "statement, comments and the meaning stay. - reads standard input and prints the result. If one FILE has a syntax "
    "error, nothing is written."
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True), metavar="FILE...")
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; name the files that would change, and exit 1."
)
def format(files: tuple[Path, ...], only_check: bool) -> int:
    if STDIN in files and len(files) > 1:
        raise click.UsageError("- stands for standard input, and cannot be given with other files.")
    found: list[LaidOut] = []
    problems = []
    for file in dict.fromkeys(files):
        try:
            found.append(_laid_out(file))
        except ValueError as problem:  # noqa: PERF203  # those of all files are wanted
            problems.append(str(problem))
    if problems:
        click.echo("\n".join(problems), err=True)
        return 1
    if only_check:
        changed = [each for each in found if each.is_changed]
        for each in changed:
            click.echo(each.file)
        return int(bool(changed))
    for each in found:
        if each.file == STDIN:
            click.echo(each.after, nl=False)
        elif each.is_changed:
            _replace(each.file, each.after)
            click.echo(f"{each.file}: written")
    return 0


def _laid_out(file: Path) -> LaidOut:
    """Raises ValueError with what is to be shown."""
    from dsl.errors import SyntaxErrors
    from dsl.layout import layout
    from mpc_runtime.errors import CompileError
    from mpc_runtime.plan import MAGIC
    from mpc_runtime.sources import decoded

    name = "<stdin>" if file == STDIN else str(file)
    try:
        before = sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    except OSError as error:
        raise ValueError(f"error: {file}: cannot be read: {error.strerror}") from None
    if before.startswith(MAGIC):
        raise ValueError(f"error: {name}: this is a compiled plan; name the .ppml file that it was compiled from")
    try:
        return LaidOut(file, before, layout(decoded(name, before), name).encode())
    except CompileError as error:
        raise ValueError(f"error: {error}") from None
    except SyntaxErrors as errors:
        raise ValueError(str(errors)) from None


def _replace(file: Path, data: bytes) -> None:
    """All of it or nothing, with the permissions that the file has; a link stays one."""
    from mpc_runtime.errors import InputError

    target = file.resolve()
    try:
        mode = target.stat().st_mode
        descriptor, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(data)
            os.chmod(beside, mode & 0o7777)
            os.replace(beside, target)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None
