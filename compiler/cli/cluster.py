"""`mpcc init-cluster`, `keygen`, `dealer` and `party`: the servers of a deployment, one command each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from compiler.cli.options import is_checked, load_program, program_options

LAST_PORT = 65535


@click.command(
    "init-cluster", help="Write a cluster.toml for this machine, and a key file for each server and each role of FILE."
)
@program_options
@click.option("-o", "--output", default="cluster.toml", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--port",
    type=click.IntRange(1, LAST_PORT - 4),
    default=7100,
    show_default=True,
    help="Port of p0; p1, the dealer, and the clients of p0 and of p1 get the next four.",
)
def init_cluster(file: Path, dims: tuple[str, ...], network: str | None, output: Path, port: int) -> None:
    from mpc_runtime.deployment.cluster import write_cluster

    plan = load_program(file, dims, network).plan
    for written in write_cluster(output, plan.roles, port):
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
        inputs = "".join(f" --input {t.name}=FILE" for t in plan.inputs if t.role == role)
        click.echo(f"  mpcc submit {file}{same}{where} --role {shlex.quote(role)}{inputs}")


@click.command(help="Make a key pair: write the secret key to NAME.key and print the public key.")
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The key file  [default: NAME.key]")
def keygen(name: str, output: Path | None) -> None:
    from mpc_runtime.deployment.cluster import ignore_key, save_key
    from mpc_runtime.transport.identity import KeyPair

    keys = KeyPair.generate()
    path = output or Path(f"{name}.key")
    save_key(path, keys)
    ignored = ignore_key(path)
    click.echo(keys.public)
    for file in ignored:
        click.echo(f"wrote {file}: git ignores the key", err=True)
    click.echo(f"wrote {path}; the line above is its public half, for {name} in cluster.toml", err=True)


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
    return command


@click.command(help="Start compute party NUMBER (0 or 1). It runs until you stop it or another server is gone.")
@click.argument("number", type=click.Choice(["0", "1"]))
@program_options
@_server_options
@click.option(
    "--material", type=click.Path(path_type=Path), help="The party's stored material: with it, no dealer is needed."
)
@click.option(
    "--low-water",
    type=click.IntRange(1),
    help="With --material and a dealer that is running: below so many runs, it deals as many more.",
)
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
    material: Path | None,
    low_water: int | None,
) -> None:
    if low_water is not None and material is None:
        raise click.UsageError("--low-water is for a party with --material")
    _serve(f"p{number}", file, dims, network, cluster, key, timeout, wait, window, material, low_water or 0)


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
) -> None:
    _serve("dealer", file, dims, network, cluster, key, timeout, wait, window)


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
    material: Path | None = None,
    low_water: int = 0,
) -> None:
    from mpc_runtime.deployment.cluster import key_path, load_cluster, load_key
    from mpc_runtime.servers.process import SERVERS, run

    plan = load_program(file, dims, network).plan
    machines = load_cluster(cluster)
    keys = load_key(key or key_path(machines.path, name))
    config = machines.machine(name, keys, timeout, window << 20, wait)
    if material is not None:
        config = replace(config, material=str(material), low_water=low_water)
    alone = config.material and not config.low_water
    others = " and ".join(each for each in SERVERS if each != name and not (alone and each == "dealer"))

    def addresses(own: str, clients: str) -> Mapping[str, str]:
        at = f"{own} (clients: {clients})" if clients else own
        what = f"plan {plan.name} {plan.hash[:16]}"
        click.echo(f"{name} listens at {at} with {what}; waiting for {others}", err=True)
        return machines.addresses

    run(plan, config, addresses, ready=lambda: click.echo(f"{name} is ready", err=True))
