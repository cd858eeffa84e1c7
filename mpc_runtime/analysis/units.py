"""Numbers for people."""

from __future__ import annotations


def human(n: float) -> str:
    """Bytes: "1.5 MB" (powers of 1000)."""
    if n < 10_000:
        return f"{n:,.0f} B"
    value, unit = n / 1000, "kB"
    for larger in ("MB", "GB"):
        if value >= 1000:
            value, unit = value / 1000, larger
    return f"{value:,.1f} {unit}"
