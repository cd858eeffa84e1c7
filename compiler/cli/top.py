"""`mpcc top`: what the servers of a deployment do, a line a server and plan, from the metrics that they show."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.cli.options import echo_json
from compiler.cli.watching import host_and_port

if TYPE_CHECKING:
    from rich.table import Table

    from mpc_runtime.operation.reading import Reading

PHASES = ("queue", "online", "total")
COLUMNS = ("server", "plan", "session", "queries", "1/s", "rows", *PHASES, "material", "aborts", "refused", "memory")


@dataclass(frozen=True)
class Row:
    """A plan at a server. rate: queries a second since the last reading, or None at the first; queue, online, total:
    mean seconds of a run, since the last reading if there were runs; material: records left, stored or dealt ahead."""

    server: str
    well: bool
    problem: str
    peers: Mapping[str, bool]
    plan: str = ""
    session: str = ""
    queries: float = 0.0
    rate: float | None = None
    rows: float | None = None
    queue: float | None = None
    online: float | None = None
    total: float | None = None
    material: float | None = None
    aborts: float = 0.0
    refused: float = 0.0
    memory: float | None = None


WIDE = 300  # columns of a table that goes to no terminal: nothing in it is cut off


@click.command(
    help="Show what servers do: sessions, rates, latencies, material and peers. ENDPOINT is where one shows its "
    "metrics, such as 9100 or 127.0.0.1:9100; without any, those that cluster.toml lists."
)
@click.argument("endpoints", nargs=-1, metavar="[ENDPOINT]...")
@click.option("--cluster", default="cluster.toml", show_default=True, type=click.Path(path_type=Path))
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(0.1), help="Seconds between readings.")
@click.option("--once", is_flag=True, help="Print one table and end; exit code 1 unless all servers are well.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; once.")
def top(endpoints: tuple[str, ...], cluster: Path, every: float, once: bool, as_json: bool) -> int:
    addresses = _addresses(endpoints, cluster)
    if as_json or once:
        rows = list(rows_of(_read(addresses), {}, every))
        if as_json:
            echo_json([asdict(row) for row in rows])
        else:
            from rich.console import Console

            Console(width=None if sys.stdout.isatty() else WIDE).print(table(rows))
        return 0 if all(row.well for row in rows) else 1
    _live(addresses, every)
    return 0


def _addresses(endpoints: Sequence[str], cluster: Path) -> list[str]:
    from mpc_runtime.deployment.cluster import load_cluster
    from mpc_runtime.errors import InputError

    if not endpoints:
        endpoints = list(load_cluster(cluster).metrics.values())
        if not endpoints:
            raise InputError(
                f'{cluster}: lists no metrics; name an endpoint, or add metrics = "127.0.0.1:9100" to a server\'s table'
            )
    pairs = [host_and_port(endpoint, "ENDPOINT") for endpoint in endpoints]
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in pairs]


def _read(addresses: Sequence[str]) -> list[Reading]:
    """All at once, so that one that does not answer keeps nobody."""
    from concurrent.futures import ThreadPoolExecutor

    from mpc_runtime.operation.reading import read

    with ThreadPoolExecutor(len(addresses)) as pool:
        return list(pool.map(read, addresses))


def _live(addresses: Sequence[str], every: float) -> None:
    from rich.live import Live

    before: dict[str, Reading] = {}
    with Live(auto_refresh=False, screen=True) as live:
        while True:
            readings = _read(addresses)
            live.update(table(list(rows_of(readings, before, every))), refresh=True)
            before = {reading.address: reading for reading in readings}
            time.sleep(every)


def rows_of(readings: Sequence[Reading], before: Mapping[str, Reading], seconds: float) -> Iterator[Row]:
    """The rows of these readings. before: the last readings by address, so many seconds ago."""
    for reading in readings:
        whole: dict[str, Any] = {
            "server": reading.machine or reading.address,
            "well": reading.well,
            "problem": reading.problem,
            "peers": reading.peers,
            "memory": reading.value("process_resident_memory_bytes"),
            "refused": reading.value("mpc_refused_connections_total") or 0.0,
        }
        plans = reading.plans()
        if not plans:
            yield Row(**whole)
        last = before.get(reading.address)
        for plan in plans:
            yield Row(**{**whole, **_health_of(reading, plan), **_of_plan(reading, last, plan, seconds)})


def _health_of(reading: Reading, plan: str) -> dict[str, Any]:
    """What a service of several plans says of one of them in particular."""
    if (told := reading.health.get(plan)) is None:
        return {}
    own = {"well": told.well, "peers": told.peers, "problem": told.trouble}
    memory = reading.value("mpc_plan_memory_bytes", plan=plan)
    return own | ({"memory": memory} if memory else {})


def _of_plan(reading: Reading, last: Reading | None, plan: str, seconds: float) -> dict[str, Any]:
    queries = reading.value("mpc_queries_total", plan=plan) or 0.0
    earlier = (last.value("mpc_queries_total", plan=plan) or 0.0) if last else None
    stored = reading.value("mpc_material_records", plan=plan)
    return {
        "plan": plan,
        "session": reading.session(plan),
        "queries": queries,
        "rate": None if earlier is None else max(0.0, queries - earlier) / seconds,
        "rows": _mean(reading, last, "mpc_batch_rows", plan=plan),
        **{phase: _mean(reading, last, "mpc_latency_seconds", plan=plan, phase=phase) for phase in PHASES},
        "material": reading.value("mpc_dealt_ahead", plan=plan) if stored is None else stored,
        "aborts": reading.value("mpc_aborts_total", plan=plan) or 0.0,
    }


def _mean(reading: Reading, last: Reading | None, name: str, **labels: str) -> float | None:
    """Of what was observed since the last reading; of all, if that was nothing."""
    total, count = (reading.value(f"{name}_{what}", **labels) or 0.0 for what in ("sum", "count"))
    if last is not None:
        before, counted = (last.value(f"{name}_{what}", **labels) or 0.0 for what in ("sum", "count"))
        if count > counted:
            total, count = total - before, count - counted
    return total / count if count else None


def table(rows: Sequence[Row]) -> Table:
    """The rows as they are shown."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column in COLUMNS:
        shown.add_column(column, justify="left" if column in COLUMNS[:3] else "right", no_wrap=column == "server")
    for row in rows:
        gone = [name for name, up in row.peers.items() if not up]
        state = "ok" if row.well else row.problem or (f"{', '.join(gone)} gone" if gone else "waits")
        server = f"{escape(row.server)} [{'green' if row.well else 'red'}]{escape(state)}[/]"
        shown.add_row(server, escape(row.plan), escape(row.session), *_cells(row))
    return shown


def _cells(row: Row) -> list[str]:
    from mpc_runtime.analysis.units import human

    def number(value: float | None, digits: int = 0) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    times = [("" if s is None else f"{1000 * s:.1f} ms") for s in (row.queue, row.online, row.total)]
    memory = "" if row.memory is None else human(int(row.memory))
    counts = [number(row.queries), number(row.rate, 1), number(row.rows, 1)]
    return [*counts, *times, number(row.material), number(row.aborts), number(row.refused), memory]
