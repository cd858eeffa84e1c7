"""`mpcc doctor`: what is wrong with this installation, and with a deployment as far as one machine can see."""

from __future__ import annotations

import importlib.util
import platform
import ssl
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compiler.cli.finding import Finding
from compiler.cli.options import echo_json, load_program

if TYPE_CHECKING:
    from mpc_runtime.deployment.cluster import Cluster
    from mpc_runtime.plan import Plan

OLDEST_PYTHON = (3, 10)
NEEDED = {
    "numpy": "numpy",
    "lark": "lark",
    "zmq": "pyzmq",
    "click": "click",
    "rich": "rich",
    "safetensors": "safetensors",
    "cryptography": "cryptography",
    "prometheus_client": "prometheus-client",
}
"""Module -> what pip calls it."""
IMAGES = ("PIL", "pillow")  # without it all else works


@click.command(
    help="Check this installation, FILE and, with --cluster, a deployment. Exit code 1 if something is wrong."
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--cluster", type=click.Path(path_type=Path), help="The cluster.toml to check.")
@click.option("--key", type=click.Path(path_type=Path), help="Your secret key  [default: those beside cluster.toml]")
@click.option("--data", type=click.Path(path_type=Path), help="The folder in which a server is to keep its data.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(file: Path | None, cluster: Path | None, key: Path | None, data: Path | None, as_json: bool) -> int:
    findings = [*_installation(), *_deployment(cluster, file, key, data)]
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{'ok ' if finding.well else 'BAD'}  {finding.what}: {finding.found}")
            if finding.help and not finding.well:
                click.echo(f"     help: {finding.help}")
    return 0 if all(finding.well for finding in findings) else 1


def _installation() -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding("Python", sys.version_info >= OLDEST_PYTHON, version, "use Python 3.10 or later")
    for module, package in NEEDED.items():
        there = importlib.util.find_spec(module) is not None
        yield Finding(module, there, "installed" if there else "missing", f"pip install {package}")
    module, package = IMAGES
    there = importlib.util.find_spec(module) is not None
    yield Finding(module, True, "installed" if there else f"not installed; it reads images: pip install {package}")
    try:
        from mpc_runtime import kernels

        yield Finding("kernels", True, f"{kernels.variant()} (this machine has {', '.join(kernels.variants())})")
    except ImportError as error:
        yield Finding("kernels", False, str(error), "pip install -e . in the project's folder builds them")
    yield Finding(
        "TLS 1.3", ssl.HAS_TLSv1_3, ssl.OPENSSL_VERSION, "use a Python that was built with OpenSSL 1.1.1 or later"
    )


def _deployment(path: Path | None, file: Path | None, key: Path | None, data: Path | None) -> Iterator[Finding]:
    """The plan, the cluster.toml, the keys, the folder for data, and the network; those of these that are given."""
    from compiler.cli.checkup import check_data, check_deployment, check_keys

    cluster = plan = None
    if path is not None:
        cluster, finding = _cluster(path)
        yield finding
    if file is not None:
        plan, finding = _plan(file, cluster)
        yield finding
    if data is not None:
        yield check_data(data)
    if cluster is not None:
        keys, findings = check_keys(cluster, key)
        yield from findings
        yield from check_deployment(cluster, keys, plan)


def _cluster(path: Path) -> tuple[Cluster | None, Finding]:
    from mpc_runtime.deployment.cluster import load_cluster
    from mpc_runtime.errors import Error

    try:
        cluster = load_cluster(path)
    except Error as error:
        return None, Finding(str(path), False, _without(path, error), "correct that entry, on every machine alike")
    return cluster, Finding(str(path), True, f"servers p0, p1, dealer; roles {', '.join(cluster.roles) or 'none'}")


def _plan(file: Path, cluster: Cluster | None) -> tuple[Plan | None, Finding]:
    """The plan; that FILE compiles or loads, and that each of its roles has a key in the cluster."""
    from mpc_runtime.errors import CompileError, Error

    try:
        plan = load_program(file, (), None).plan
    except Error as error:
        wrong = error.diagnostics if isinstance(error, CompileError) else ()
        found = f"{len(wrong)} error{'s' * (len(wrong) > 1)}" if wrong else _without(file, error)
        help = f"mpcc check {file} shows what and where" if wrong else "name a .ppml file or a plan"
        return None, Finding(str(file), False, found, help)
    found = f"{plan.name}, plan {plan.hash[:16]}"
    missing = [role for role in plan.roles if role not in cluster.roles] if cluster else []
    if cluster is None or not missing:
        return plan, Finding(str(file), True, found)
    without = f"{found}, has roles without a key: {', '.join(missing)}"
    return plan, Finding(str(file), False, without, f"mpcc keygen NAME, and a line for it in [roles] of {cluster.path}")


def _without(path: Path, error: Exception) -> str:
    """The message without the name of the file in front of it."""
    return str(error).removeprefix(f"{path}: ")
