"""Tables and plots of `docs/performance.md` from measured rows: `python -m benchmarks.report FILE.jsonl ...`.

The page keeps its words; what stands between `<!-- measured: NAME -->` and `<!-- end -->` is replaced by the table of
that name. A row that was measured again replaces the older one. The plots are `docs/performance-*.svg`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots import growth_plot, peers_plot
from benchmarks.workloads import LENET_BATCHES

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = Mapping[str, Any]


def read(paths: Iterable[str]) -> dict[str, list[Row]]:
    """Section -> rows, in the order of their first appearance."""
    rows: dict[tuple[str, ...], Row] = {}
    for path in paths:
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows[tuple(str(row.get(k, "")) for k in ("section", "part", "name", "variant", "yardstick", "link"))] = row
    sections: dict[str, list[Row]] = {}
    for row in rows.values():
        sections.setdefault(row["section"], []).append(row)
    return sections


# -- cells ------------------------------------------------------------------------------------------------------------


def seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.3g} MB" if value >= 1e6 else f"{value / 1e3:.3g} kB"


def ratio(value: float | None) -> str:
    if value is None:
        return ""
    return f"1/{1 / value:.3g}" if value < 1 else f"{value:.2f}"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; the first column to the left, numbers to the right."""
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


# -- tables -----------------------------------------------------------------------------------------------------------


def machine(rows: Sequence[Row]) -> str:
    m = rows[-1]
    return (
        f"{m['date']}, {m['cpu']}, {m['cores']} cores, {m['system']}, Python {m['python']}, NumPy {m['numpy']}, "
        f"mpc-runtime {m['mpc_runtime']} with the `{m['kernels']}` kernels.\n"
    )


def kernels(rows: Sequence[Row]) -> str:
    """A table for each set of variants: rate, and in brackets its ratio to the yardstick's."""
    by_kernel: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        by_kernel.setdefault((row["name"], row["yardstick"], row["unit"]), {})[row["variant"]] = row
    by_variants: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for (name, yardstick, unit), found in by_kernel.items():
        cells = (f"{row['rate']:.3g} ({row['ratio']:.2f})" for row in found.values())
        by_variants.setdefault(tuple(found), []).append((name, *cells, unit, yardstick))
    return "\n".join(table(("kernel", *variants, "unit", "ratio to"), lines) for variants, lines in by_variants.items())


def workloads(rows: Sequence[Row]) -> str:
    """Gates or models: seconds, then counts; what the plan said stands beside where it is not the same."""
    titles = (
        "work",
        "online",
        "offline",
        "total",
        "sustained",
        "rounds",
        "online",
        "offline",
        "largest error",
        "wrong",
    )
    return table(
        titles,
        (
            (
                r["what"],
                *(seconds(r[k]) for k in ("online", "offline", "total", "sustained")),
                _planned(r, "rounds", str),
                _planned(r, "online_bytes", megabytes),
                _planned(r, "offline_bytes", megabytes),
                f"{r['max_error']:.1e}",
                str(r["wrong"]),
            )
            for r in rows
        ),
    )


def _planned(row: Row, key: str, show: Callable[[Any], str]) -> str:
    found, planned = row[key], row[f"planned_{key}"]
    return show(found) if found == planned else f"{show(found)} (plan: {show(planned)})"


def comparisons(rows: Sequence[Row]) -> str:
    return table(
        ("comparison", "online", "offline"),
        (
            (r["what"], *(f"{r['elements'] / r[k] / 1e6:.3g} M/s" for k in ("online", "offline")))
            for r in rows
            if r["name"].startswith("less")
        ),
    )


def growth(rows: Sequence[Row]) -> str:
    """LeNet by batch: seconds of one image, and memory beside what the plan said."""
    titles = ("batch", "online, an image", "total, an image", "sustained, an image", "memory", "plan", "ratio")
    found = {r["name"]: r for r in rows}
    batches = [(n, found[f"lenet_b{n}"]) for n in LENET_BATCHES if f"lenet_b{n}" in found]
    return table(
        titles,
        (
            (
                str(n),
                *(seconds(r[k] / n) for k in ("online", "total", "sustained")),
                megabytes(r["memory"]),
                megabytes(r["planned_memory"]),
                f"{r['memory'] / r['planned_memory']:.2f}",
            )
            for n, r in batches
        ),
    )


def network(rows: Sequence[Row]) -> str:
    titles = ("work", "link", "rounds", "online bytes", "compute", "predicted", "measured", "ratio")
    return table(
        titles,
        (
            (
                r["name"],
                r["link"],
                _planned(r, "rounds", str),
                megabytes(r["online_bytes"]),
                *(seconds(r[k]) for k in ("compute", "predicted", "online")),
                f"{r['ratio']:.2f}",
            )
            for r in rows
        ),
    )


def peers(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for r in rows for name in r["peers"]))
    titles = ("work", "online", "total", "sustained", *names, "online to best", "total to best")
    return table(
        titles,
        (
            (
                r["what"],
                *(seconds(r[k]) for k in ("online", "total", "sustained")),
                *(_peer(r[name]) for name in names),
                ratio(r.get("online_ratio")),
                ratio(r.get("total_ratio")),
            )
            for r in rows
        ),
    )


def _peer(cell: Row) -> str:
    if "seconds" not in cell:
        return "failed"
    return seconds(cell["seconds"]) + (f" ({cell['wrong']} wrong)" if cell["wrong"] else "")


def startup(rows: Sequence[Row]) -> str:
    return table(("", "seconds"), ((r["name"], seconds(r["seconds"])) for r in rows))


TABLES: dict[str, tuple[str, Callable[[Sequence[Row]], str]]] = {
    "machine": ("machine", machine),
    "startup": ("startup", startup),
    "kernels": ("kernels", kernels),
    "gates": ("gates", workloads),
    "comparisons": ("gates", comparisons),
    "models": ("models", workloads),
    "growth": ("models", growth),
    "network": ("network", network),
    "peers": ("peers", peers),
}
"""Name in the page -> section of the rows, and what makes the table of them."""


def fill(page: str, sections: Mapping[str, Sequence[Row]]) -> str:
    """The page with every table whose section was measured; the others stay as they are."""

    def replaced(match: re.Match[str]) -> str:
        section, make = TABLES[match[2]]
        return f"{match[1]}{make(sections[section])}{match[3]}" if section in sections else match[0]

    return BLOCK.sub(replaced, page)


def main(paths: Sequence[str]) -> None:
    if not paths:
        sys.exit(f"{__doc__}")
    sections = read(paths)
    page = DOCS / "performance.md"
    page.write_text(fill(page.read_text(encoding="utf-8"), sections), encoding="utf-8")
    if "peers" in sections:
        (DOCS / "performance-peers.svg").write_text(peers_plot(sections["peers"]), encoding="utf-8")
    if "models" in sections:
        (DOCS / "performance-growth.svg").write_text(growth_plot(sections["models"]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
