"""Source texts of models: how they are read, and how the compiler's warnings reach whoever compiles."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from .errors import CompileError, CompileWarning, InputError
from .plan import MAGIC

if TYPE_CHECKING:
    from dsl.errors import Diagnostic

SUFFIX = ".ppml"


def read_source(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The file's name and its text."""
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"compile expects a path, found {type(path).__name__}; a model's text is passed as text=")
    filename = os.fspath(path)
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as e:
        if looks_like_text(filename):
            raise InputError("compile expects a path, and that looks like a model's text: compile(text=…)") from None
        raise CompileError(f"{filename}: cannot be read: {getattr(e, 'strerror', e)}") from None
    if data.startswith(MAGIC):
        raise CompileError(f"{filename}: this is a compiled plan: mpc.load reads it")
    return filename, decoded(filename, data)


def decoded(filename: str, data: bytes) -> str:
    """The text of a file. Raises CompileError where it is no text."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise CompileError(f"{filename}: expected UTF-8 text, found the byte 0x{e.object[e.start]:02x}") from None


def looks_like_text(path: str) -> bool:
    """Whether what was given as a path is rather the text of a model."""
    return "\n" in path or path.startswith("model ")


def warn(diagnostics: Iterable[Diagnostic], caller: FrameType) -> None:
    """Each by way of `warnings`, at the caller's line, and however often it was said before: without a registry,
    nothing counts as a repetition, so that another model compiled at the same line is warned of too."""
    for diagnostic in diagnostics:
        warnings.warn_explicit(
            CompileWarning(diagnostic), CompileWarning, caller.f_code.co_filename, caller.f_lineno, registry={}
        )
