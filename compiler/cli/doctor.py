"""`mpcc doctor`: what is wrong with this installation, and with a deployment as far as one machine can see."""

from __future__ import annotations

import importlib.util
import platform
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from compiler.cli.options import echo_json, load_program

OLDEST_PYTHON = (3, 10)
NEEDED = ("numpy", "lark", "zmq", "click", "rich", "safetensors")
OPTIONAL = {"PIL": "reads images: pip install pillow"}
CONNECT_SECONDS = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at. help: what to do about it, when it is not well."""

    what: str
    well: bool
    found: str
    help: str = ""


@click.command(help="Look at this installation and, with --cluster, at a deployment. Exit code 1 if one is bad.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--cluster", type=click.Path(path_type=Path), help="The cluster.toml to look at.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(file: Path | None, cluster: Path | None, as_json: bool) -> int:
    findings = [*_installation(), *(_deployment(cluster, file) if cluster else ())]
    if as_json:
        echo_json([finding.__dict__ for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{'ok ' if finding.well else 'BAD'}  {finding.what}: {finding.found}")
            if finding.help and not finding.well:
                click.echo(f"     help: {finding.help}")
    return 0 if all(finding.well for finding in findings) else 1


def _installation() -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding("Python", sys.version_info >= OLDEST_PYTHON, version, "use Python 3.10 or later")
    for module in NEEDED:
        there = importlib.util.find_spec(module) is not None
        yield Finding(module, there, "installed" if there else "missing", f"pip install {module}")
    for module, use in OPTIONAL.items():
        there = importlib.util.find_spec(module) is not None
        yield Finding(module, True, "installed" if there else f"not installed; it {use}")
    try:
        from mpc_runtime import kernels

        yield Finding("kernels", True, f"{kernels.variant()} (this machine has {', '.join(kernels.variants())})")
    except ImportError as error:
        yield Finding("kernels", False, str(error), "pip install -e . in the project's folder builds them")
    try:
        import zmq

        yield Finding("CURVE encryption", zmq.has("curve"), f"ZeroMQ {zmq.zmq_version()}", "install a pyzmq wheel")
    except ImportError:
        return


def _deployment(path: Path, file: Path | None) -> Iterator[Finding]:
    from mpc_runtime.cluster import key_path, load_cluster, load_key
    from mpc_runtime.errors import Error

    try:
        cluster = load_cluster(path)
    except Error as error:
        yield Finding(str(path), False, str(error))
        return
    yield Finding(str(path), True, f"servers p0, p1, dealer; roles {', '.join(cluster.roles) or 'none'}")
    for name in (*cluster.addresses, *cluster.roles):
        key = key_path(path, name)
        if not key.exists():
            yield Finding(f"key of {name}", True, "not on this machine")
            continue
        try:
            cluster.check_key(name, load_key(key))
            yield Finding(f"key of {name}", True, str(key))
        except Error as error:
            yield Finding(f"key of {name}", False, str(error))
    for name, address in [*cluster.addresses.items(), *cluster.streams.items()]:
        listens = _listens(address)
        command = "dealer" if name == "dealer" else f"party {name[1]}"
        yield Finding(
            f"{name} at {address.removeprefix('tcp://')}",
            listens,
            "listens" if listens else "nobody listens",
            f"start it: mpcc {command} FILE --cluster {path}",
        )
    if file is not None:
        plan = load_program(file, (), None).plan
        missing = [role for role in plan.roles if role not in cluster.roles]
        found = f"{plan.name} {plan.hash[:16]}" + (f" has roles without a key: {', '.join(missing)}" if missing else "")
        yield Finding(str(file), not missing, found, f"mpcc keygen NAME, and a line for it in [roles] of {path}")


def _listens(address: str) -> bool:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
            return True
    except OSError:
        return False
