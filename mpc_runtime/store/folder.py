"""The stores in a folder, one for each plan of a service."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ..errors import MaterialError
from .ledger import LEDGER
from .store import open_ledger

__all__ = ["store_of", "stores"]


def stores(folder: Path) -> list[Path]:
    """The folder itself, if it is a store; else those in it that are."""
    if (folder / LEDGER).is_file():
        return [folder]
    try:
        return sorted(path.parent for path in folder.glob(f"*/{LEDGER}"))
    except OSError as error:
        raise MaterialError(f"{folder}: cannot be read: {error.strerror}") from None


def store_of(folder: Path, plan_hash: str) -> Path | None:
    """The store of a plan, by its hash; None where there is none. MaterialError when one cannot be read, or when there
    are two."""
    found = []
    for path in stores(folder):
        with closing(open_ledger(path)) as ledger:
            if ledger.identity.plan_hash == plan_hash:
                found.append(path)
    if len(found) > 1:
        raise MaterialError(
            f"{found[0]} and {found[1]} are both for plan {plan_hash[:16]}; stop this server, and make them one with "
            "`mpcc store add`, or take one away"
        )
    return found[0] if found else None
