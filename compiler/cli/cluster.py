"""`mpcc init-cluster`, `keygen`, `dealer` and `party`: the servers of a deployment, one command each."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.cli.options import is_checked, linger_option, load_program, pairs, program_options
from compiler.cli.watching import Told, Watching, watch_options, watched

if TYPE_CHECKING:
    from mpc_runtime.plan import Plan

FIRST_PORT, LAST_PORT = 7100, 65535
EXIT_ERROR, EXIT_INTERRUPTED = 1, 130


@click.command(
    "init-cluster",
    help="Write a cluster.toml: for this machine, with a key file for each server and each role of FILE; or, with "
    "--server and --role, for servers elsewhere, from public keys alone.",
)
@program_options
@click.option("-o", "--output", default="cluster.toml", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--port",
    type=click.IntRange(1, LAST_PORT - 4),
    help="Port of p0 on this machine; p1, the dealer, and the clients of p0 and of p1 get the next four.  "
    f"[default: {FIRST_PORT}]",
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="NAME=HOST:PORT,KEY",
    help="p0, p1 and dealer: where others reach it, and its public key; clients reach a party at its port + 3.",
)
@click.option("--role", "members", multiple=True, metavar="ROLE=KEY", help="A public key of a role; repeats.")
def init_cluster(
    file: Path,
    dims: tuple[str, ...],
    network: str | None,
    output: Path,
    port: int | None,
    servers: tuple[str, ...],
    members: tuple[str, ...],
) -> None:
    from mpc_runtime.deployment.cluster import write_cluster

    plan = load_program(file, dims, network).plan
    if servers or members:
        if port is not None:
            raise click.UsageError("--port is for a cluster on this machine; --server has ports of its own")
        _write_public(plan, output, servers, members)
        return
    for written in write_cluster(output, plan.roles, port or FIRST_PORT):
        click.echo(f"wrote {written}" + (": git ignores the keys" if written.name == ".gitignore" else ""))
    same = (
        "".join(f" --dim {text}" for text in dims)
        + (f" --network {network}" if network else "")
        + (" --checked" if is_checked() else "")
    )
    where = "" if str(output) == "cluster.toml" else f" --cluster {output}"
    click.echo("\nNow, each in its own terminal:\n")
    for server in ("dealer", "party 0", "party 1"):
        click.echo(f"  mpcc {server} {file}{same}{where}")
    for role in plan.roles_of("setup"):
        click.echo(f"  mpcc provide {file}{same}{where} --role {shlex.quote(role)} --param WEIGHTS")
    for role in plan.roles_of("run"):
        inputs = "".join(f" --input {t.name}=FILE" for t in plan.inputs if t.role == role and "run" in t.stages)
        click.echo(f"  mpcc submit {file}{same}{where} --role {shlex.quote(role)}{inputs}")


def _write_public(plan: Plan, output: Path, servers: tuple[str, ...], members: tuple[str, ...]) -> None:
    """A cluster.toml from what the administrators have sent each other."""
    from mpc_runtime.deployment.cluster import write_public
    from mpc_runtime.errors import InputError
    from mpc_runtime.servers.process import SERVERS

    given = pairs(servers, "--server")
    if set(given) != set(SERVERS):
        raise click.UsageError(
            f"--server is needed for each of {', '.join(SERVERS)}, found {', '.join(given) or 'none'}"
        )
    at = {}
    for name in SERVERS:
        address, comma, key = given[name].partition(",")
        if not comma:
            raise click.UsageError(f"--server: expected {name}=HOST:PORT,KEY, found {given[name]!r}")
        at[name] = address, key
    keys: dict[str, list[str]] = {role: [] for role in plan.roles}
    for text in members:
        role, equals, key = text.partition("=")
        if not equals or role not in keys:
            raise InputError(f"--role: expected ROLE=KEY with a role of the plan ({', '.join(keys)}), found {text!r}")
        keys[role].append(key)
    found = write_public(output, at, keys)
    click.echo(
        f"wrote {output}: the same file for every machine\n\nRead these to their owners before you rely on them:\n"
    )
    for name, prints in found.items():
        for each in prints or ["no key yet: add one under [roles]"]:
            click.echo(f"  {name}: {each}")


@click.command(help="Make a key pair: write the secret key to NAME.key, print the public key and its fingerprint.")
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The key file  [default: NAME.key]")
def keygen(name: str, output: Path | None) -> None:
    from mpc_runtime.deployment.keys import ignore_key, save_key
    from mpc_runtime.transport.identity import KeyPair, fingerprint

    if not name.strip():
        raise click.BadParameter("expected a name, such as client, found none", param_hint="NAME")
    keys = KeyPair.generate()
    path = output or Path(f"{name}.key")
    save_key(path, keys)
    ignored = ignore_key(path)
    click.echo(keys.public)
    for file in ignored:
        click.echo(f"wrote {file}: git ignores the key", err=True)
    click.echo(f"wrote {path}, which stays on this machine", err=True)
    click.echo(f"the line above is its public half, for {name} in cluster.toml; in a shell, write it in '…'", err=True)
    click.echo(f"fingerprint: {fingerprint(keys.public)}", err=True)


def _server_options(command: click.decorators.FC) -> click.decorators.FC:
    for option in (
        click.option("--window", default=64, show_default=True, help="MB of material the dealer may work ahead."),
        click.option(
            "--wait", default=3600.0, show_default=True, help="Seconds to wait for the other servers to start."
        ),
        click.option("--timeout", default=60.0, show_default=True, help="Seconds a machine may take to answer."),
        click.option("--key", type=click.Path(path_type=Path), help="Secret key file  [default: NAME.key beside it]"),
        click.option("--cluster", default="cluster.toml", show_default=True, type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return watch_options(command)


@click.command(help="Start compute party NUMBER (0 or 1). It runs until you stop it or another server is gone.")
@click.argument("number", type=click.Choice(["0", "1"]))
@program_options
@_server_options
@click.option("--data", type=click.Path(path_type=Path), help="Folder that keeps the count of queries.")
@click.option(
    "--material", type=click.Path(path_type=Path), help="The party's stored material: with it, no dealer is needed."
)
@click.option(
    "--low-water",
    type=click.IntRange(1),
    help="With --material and a dealer that is running: below so many runs, it deals as many more.",
)
@linger_option
def party(
    number: str,
    file: Path,
    dims: tuple[str, ...],
    network: str | None,
    cluster: Path,
    key: Path | None,
    timeout: float,
    wait: float,
    window: int,
    data: Path | None,
    material: Path | None,
    low_water: int | None,
    linger: float,
    **how: Any,
) -> int:
    if low_water is not None and material is None:
        raise click.UsageError("--low-water is for a party with --material")
    kept = _Kept(data, material, low_water or 0, linger)
    return _serve(f"p{number}", file, dims, network, cluster, key, timeout, wait, window, Watching(**how), kept)


@click.command(help="Start the dealer. It runs until you stop it or a party is gone.")
@program_options
@_server_options
def dealer(
    file: Path,
    dims: tuple[str, ...],
    network: str | None,
    cluster: Path,
    key: Path | None,
    timeout: float,
    wait: float,
    window: int,
    **how: Any,
) -> int:
    return _serve("dealer", file, dims, network, cluster, key, timeout, wait, window, Watching(**how))


@dataclass(frozen=True)
class _Kept:
    """Of a party: its folders, the number of runs below which its material is refilled, and how long a query waits for
    others."""

    data: Path | None
    material: Path | None
    low_water: int
    linger: float


def _serve(
    name: str,
    file: Path,
    dims: tuple[str, ...],
    network: str | None,
    cluster: Path,
    key: Path | None,
    timeout: float,
    wait: float,
    window: int,
    how: Watching,
    kept: _Kept | None = None,
) -> int:
    """The exit code: what the log has is not printed again."""
    from mpc_runtime.deployment.cluster import load_cluster
    from mpc_runtime.deployment.keys import key_path, load_key
    from mpc_runtime.deployment.revisions import Revisions
    from mpc_runtime.errors import Error
    from mpc_runtime.operation.events import Configured
    from mpc_runtime.servers.process import run

    plan = load_program(file, dims, network).plan
    machines = load_cluster(cluster)
    keys = load_key(key or key_path(machines.path, name))
    config = machines.machine(name, keys, timeout, window << 20, wait)
    if kept is not None:
        data, material = (str(folder) if folder is not None else "" for folder in (kept.data, kept.material))
        config = replace(config, data=data, material=material, low_water=kept.low_water, linger=kept.linger)
    how = replace(how, metrics=how.metrics or machines.metrics.get(name))
    told = Told()
    with watched(name, how, told) as watch:
        revisions = Revisions(machines, lambda text: watch.tell(Configured(text)))
        try:
            run(plan, config, lambda _own, _clients: machines.addresses, watch, revisions.watching)
        except Error:
            if not told.aborted:
                raise
            return EXIT_ERROR
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
    return 0
