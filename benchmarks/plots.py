"""The plots of `docs/performance.md`, drawn as SVG by hand: logarithmic axes, no library."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.workloads import LENET_BATCHES

__all__ = ["growth_plot", "peers_plot"]

Row = Mapping[str, Any]

ONLINE, TOTAL, PEER, GRID = "#1b6ca8", "#7fb3d5", "#c98b3c", "#dddddd"
STYLE = "<style>text { font: 12px sans-serif; fill: #222 } .axis { fill: #666 } .title { font-weight: bold }</style>"
PAPER = '<rect width="100%" height="100%" fill="#ffffff"/>'


class Scale:
    """Positive values to pixels, by their logarithm; `first` and `last` are the ends in pixels."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(high))
        self.first, self.last = first, last

    def __call__(self, value: float) -> float:
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.first + part * (self.last - self.first)

    def decades(self) -> Iterator[float]:
        return (10.0**e for e in range(self.low, self.high + 1))


def _seconds(value: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def _bar(x0: float, x1: float, y: float, height: float, color: str) -> str:
    return f'<rect x="{x0:.1f}" y="{y:.1f}" width="{max(x1 - x0, 1):.1f}" height="{height}" fill="{color}"/>'


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return "\n".join([head, STYLE, PAPER, *parts, "</svg>"]) + "\n"


def _legend(x: float, y: float, entries: Sequence[tuple[str, str]]) -> Iterator[str]:
    for color, words in entries:
        yield _bar(x, x + 12, y - 10, 12, color)
        yield _text(x + 18, y, words)
        x += 30 + 7 * len(words)


def peers_plot(rows: Sequence[Row]) -> str:
    """Seconds of ours and of the fastest peer, three bars a row."""
    rows = [r for r in rows if r.get("best")]
    left, width, top, pitch, thick = 330, 860, 64, 54, 12
    height = top + pitch * len(rows) + 24
    values = [r[k] for r in rows for k in ("online", "total", "best")]
    x = Scale(min(values), max(values), left, width - 70)
    parts = [_text(16, 24, "Seconds beside the fastest peer of each row (shorter is better)", kind="title")]
    parts += _legend(left, 46, ((ONLINE, "ours, online"), (TOTAL, "ours, total"), (PEER, "fastest peer")))
    for value in x.decades():
        parts.append(f'<path d="M{x(value):.1f} {top - 6}V{height - 24}" stroke="{GRID}"/>')
        parts.append(_text(x(value), height - 8, _seconds(value), "middle", "axis"))
    for i, r in enumerate(rows):
        y = top + pitch * i
        words = r["what"].split(", weights")[0]
        cut = words.rfind(",", 0, 48) if len(words) > 48 else -1
        lines = [words] if cut < 0 else [words[: cut + 1], words[cut + 1 :].strip()]
        parts += [_text(left - 10, y + 26 + 15 * n - 7 * (len(lines) - 1), line, "end") for n, line in enumerate(lines)]
        for n, (key, color) in enumerate((("online", ONLINE), ("total", TOTAL), ("best", PEER))):
            at = y + 4 + n * (thick + 2)
            parts += [_bar(left, x(r[key]), at, thick, color), _text(x(r[key]) + 5, at + 10, _seconds(r[key]))]
    return _svg(width, height, parts)


def growth_plot(rows: Sequence[Row]) -> str:
    """Seconds of one LeNet image by batch."""
    found = {r["name"]: r for r in rows}
    batches = [n for n in LENET_BATCHES if f"lenet_b{n}" in found]
    if len(batches) < 2:
        return _svg(640, 60, [_text(16, 30, "not measured")])
    left, right, top, bottom = 80, 610, 70, 300
    series = [("online", ONLINE, "online"), ("total", TOTAL, "total"), ("sustained", PEER, "sustained")]
    values = [found[f"lenet_b{n}"][key] / n for key, _, _ in series for n in batches]
    y = Scale(min(values), max(values), bottom, top)
    step = (right - left) / (len(batches) - 1)
    parts = [_text(16, 24, "LeNet: seconds of one image by batch", kind="title")]
    parts += _legend(left, 50, [(color, words) for _, color, words in series])
    for value in y.decades():
        parts.append(f'<path d="M{left} {y(value):.1f}H{right}" stroke="{GRID}"/>')
        parts.append(_text(left - 8, y(value) + 4, _seconds(value), "end", "axis"))
    parts += [_text(left + i * step, bottom + 22, str(n), "middle", "axis") for i, n in enumerate(batches)]
    parts.append(_text((left + right) / 2, bottom + 42, "batch", "middle", "axis"))
    for key, color, _ in series:
        points = [(left + i * step, y(found[f"lenet_b{n}"][key] / n)) for i, n in enumerate(batches)]
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{color}"/>' for px, py in points]
    return _svg(640, 360, parts)
