"""What commands that start a server have in common: `--metrics`, `--log-format`, `--log-level` and `--trace`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mpc_runtime.operation.events import Event, Place
    from mpc_runtime.operation.metrics import Metrics
    from mpc_runtime.operation.watch import Watch

LOOPBACK = "127.0.0.1"
FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class Watching:
    """How a server is to be watched, as its command's options say."""

    metrics: str | None = None
    log_format: str = "text"
    log_level: str = "info"
    trace: str | None = None


class Told:
    """A watcher that remembers whether an abort was told, so that it is not reported a second time."""

    def __init__(self) -> None:
        self.aborted = False

    def __call__(self, place: Place, event: Event) -> None:
        from mpc_runtime.operation.events import Aborted

        self.aborted = self.aborted or isinstance(event, Aborted)


def watch_options(command: click.decorators.FC) -> click.decorators.FC:
    """The options, whose values a command takes as `metrics`, `log_format`, `log_level` and `trace`."""
    for option in (
        click.option("--trace", metavar="URL", help="Send a trace of every run to this OpenTelemetry collector."),
        click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True),
        click.option("--log-format", type=click.Choice(FORMATS), default="text", show_default=True),
        click.option(
            "--metrics",
            metavar="[HOST:]PORT",
            help=f"Show /metrics and /health here, without authentication; HOST is {LOOPBACK} unless named.",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def watched(name: str, how: Watching, told: Told) -> Iterator[Watch]:
    """The watch of server `name`: its log on stderr, and what else it is to have, until the block ends."""
    import sys

    from mpc_runtime.operation.events import Place
    from mpc_runtime.operation.logs import Log, logger_to
    from mpc_runtime.operation.watch import Watch

    watch = Watch(Place(name), (told, Log(logger_to(sys.stderr, how.log_format, how.log_level))))
    with ExitStack() as stack:
        if how.trace is not None:
            from mpc_runtime.operation.traces import exporting

            watch = watch.also(stack.enter_context(exporting(name, how.trace)))
        if how.metrics is not None:
            from mpc_runtime.operation.metrics import Metrics

            metrics = Metrics(name)
            watch = watch.also(metrics, asked=metrics.asked)
            stack.enter_context(_shown(metrics, how.metrics))
        yield watch


@contextmanager
def _shown(metrics: Metrics, where: str) -> Iterator[None]:
    from mpc_runtime.operation.endpoint import Endpoint
    from mpc_runtime.operation.pages import pages

    host, port = host_and_port(where, "--metrics")
    endpoint = Endpoint(host, port, pages(metrics))
    try:
        yield
    finally:
        endpoint.close()


def host_and_port(text: str, option: str) -> tuple[str, int]:
    """`9100`, `10.0.0.5:9100` or `[::1]:9100`; the host is this machine unless it is named."""
    host, colon, port = text.rpartition(":")
    if (colon and not host) or not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise click.BadParameter(f"expected a port or HOST:PORT, found {text!r}", param_hint=option)
    return host.strip("[]") or LOOPBACK, int(port)
