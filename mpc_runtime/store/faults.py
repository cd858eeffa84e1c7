"""What the disk says, as a `MaterialError` that names the file and what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import MaterialError

__all__ = ["disk_faults"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_WORDS = "disk is full"  # what SQLite says of both


@contextmanager
def disk_faults(path: Path, doing: str) -> Iterator[None]:
    """Turns errors of files and of SQLite within into a MaterialError. doing: "be read", "be written"."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise MaterialError(_full(path)) from None
        raise MaterialError(f"{path}: cannot {doing}: {error.strerror or error}") from None
    except sqlite3.Error as error:
        if _FULL_WORDS in str(error):
            raise MaterialError(_full(path)) from None
        raise MaterialError(f"{path}: cannot {doing}: {error}") from None


def _full(path: Path) -> str:
    return f"{path}: the disk is full; nothing that was not written before is used. Make room and try again"
