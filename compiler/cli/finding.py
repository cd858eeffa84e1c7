"""What `mpcc doctor` finds. Here nothing else is imported, since a package may be what is missing."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at. help: what to do about it, when it is not well."""

    what: str
    well: bool
    found: str
    help: str = ""
