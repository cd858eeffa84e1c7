"""Files of secret keys: one key each, readable by its owner only, and ignored by git.

Keys that are not named (`--key`) are looked for beside the cluster.toml: `p0.key`, `client.key`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import InputError
from ..transport.identity import KeyPair

__all__ = ["ignore_key", "key_path", "load_key", "save_key"]

KEY_SUFFIX = ".key"
IGNORE_HEADING = "# secret keys"
KEY_HEADING = "# secret Ed25519 key; keep it on its machine"
OLD_HEADING = "# secret CURVE key"  # version 0.1


def key_path(cluster: Path, name: str) -> Path:
    """Where the secret key of a server or role is looked for when no file is named."""
    return cluster.parent / f"{name}{KEY_SUFFIX}"


def ignore_key(key: Path) -> list[Path]:
    """Has git ignore a secret key, and other `.key` files of its folder: a line in the `.gitignore` beside it, if it
    is not there yet. Returns the file if it was written."""
    path = key.parent / ".gitignore"
    line = f"*{KEY_SUFFIX}" if key.suffix == KEY_SUFFIX else "/" + re.sub(r"([\\*?[])", r"\\\1", key.name)
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
        if line in (each.strip() for each in text.splitlines()):
            return []
        with path.open("a", encoding="utf-8") as file:
            file.write(("\n" if text and not text.endswith("\n") else "") + f"{IGNORE_HEADING}\n{line}\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; it keeps secret keys out of git") from None
    return [path]


def save_key(path: Path, keys: KeyPair) -> None:
    """Writes a secret key, readable by its owner only; an existing file is not overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{KEY_HEADING}\n{keys.secret}\n")


def load_key(path: str | os.PathLike[str]) -> KeyPair:
    """Reads a key file; InputError if it is missing, not a key, or readable by others."""
    path = Path(path)
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(f"{path}: cannot be read as a key: {reason}; `mpcc keygen` makes one") from None
    if mode & 0o077:
        raise InputError(f"{path}: others may read this secret key; run chmod 600 {path}")
    if any(line.startswith(OLD_HEADING) for line in lines):
        raise InputError(f"{path}: is a key of version 0.1; make another with `mpcc keygen` and put it in cluster.toml")
    secrets = [line for line in lines if line and not line.startswith("# ")]
    if len(secrets) != 1:
        raise InputError(f"{path}: expected one secret key, found {len(secrets)} lines")
    return KeyPair.from_secret(secrets[0])
