"""`mpcc serve`, `deploy`, `approve` and `fetch`: servers of many plans, and how a plan comes to them."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.cli.options import linger_option, load_program, program_options
from compiler.cli.watching import Told, Watching, watch_options, watched

if TYPE_CHECKING:
    from mpc_runtime.plan import Plan

EXIT_ERROR, EXIT_INTERRUPTED = 1, 130


@click.command(help="Run the server NAME (p0, p1 or dealer) of all plans that its operator has approved in DIR.")
@click.argument("name", type=click.Choice(["p0", "p1", "dealer"]))
@click.option("--data", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Plans and parameters.")
@click.option("--cluster", default="cluster.toml", show_default=True, type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="Secret key file  [default: NAME.key beside it]")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds a machine may take to answer.")
@click.option("--window", default=64, show_default=True, help="MB of material the dealer may work ahead, for a plan.")
@click.option(
    "--material",
    type=click.Path(path_type=Path),
    help="A store, or a folder of stores: a plan that has one here needs no dealer.",
)
@click.option(
    "--low-water",
    type=click.IntRange(1),
    help="With --material and a dealer that is running: below so many runs, it deals as many more.",
)
@linger_option
@watch_options
def serve(
    name: str,
    data: Path,
    cluster: Path,
    key: Path | None,
    timeout: float,
    window: int,
    material: Path | None,
    low_water: int | None,
    linger: float,
    **how: Any,
) -> int:
    from mpc_runtime.deployment.cluster import load_cluster
    from mpc_runtime.deployment.keys import key_path, load_key
    from mpc_runtime.deployment.revisions import Revisions
    from mpc_runtime.operation.events import Configured
    from mpc_runtime.servers.service import Service

    if material is not None and name == "dealer":
        raise click.UsageError("--material is for p0 and p1; the dealer deals")
    if low_water is not None and material is None:
        raise click.UsageError("--low-water is for a party with --material")
    machines = load_cluster(cluster)
    keys = load_key(key or key_path(machines.path, name))
    config = machines.machine(name, keys, timeout, window << 20, timeout)
    config = replace(config, material=str(material or ""), low_water=low_water or 0, linger=linger)
    watching = Watching(**how)
    with watched(name, replace(watching, metrics=watching.metrics or machines.metrics.get(name)), Told()) as watch:
        revisions = Revisions(machines, lambda text: watch.tell(Configured(text)))
        service = Service(config, machines.addresses, data, watch)
        asked: set[int] = set()

        def stop(number: int, _: object) -> None:
            asked.add(number)
            service.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        with revisions.watching(service.revise):
            service.serve()
    return EXIT_INTERRUPTED if signal.SIGINT in asked else 0


@click.command(help="Offer a plan to the services of a cluster; each serves it when its operator has approved it.")
@program_options
@click.option("--name", required=True, help="What it is to be called there.")
@click.option("--role", help="The role that offers it; needed where more than one may.")
@click.option("--cluster", default="cluster.toml", show_default=True, type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="Secret key file  [default: ROLE.key beside it]")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds a server may take to answer.")
def deploy(
    file: Path,
    dims: tuple[str, ...],
    network: str | None,
    name: str,
    role: str | None,
    cluster: Path,
    key: Path | None,
    timeout: float,
) -> None:
    from mpc_runtime.deployment.cluster import load_cluster
    from mpc_runtime.deployment.keys import key_path, load_key
    from mpc_runtime.deployment.lobby import offer
    from mpc_runtime.servers.members import DEPLOY

    plan = load_program(file, dims, network).plan
    machines = load_cluster(cluster)
    may = [one for one in plan.roles if any(m.role == one and DEPLOY in m.may for m in machines.members.values())]
    role = role or _only(may if len(may) == 1 else plan.roles)
    keys = load_key(key or key_path(machines.path, role))
    machines.check_key(role, keys)
    offer(machines, role, keys, plan, name, timeout)
    click.echo(f"offered {name} to p0, p1 and the dealer; it is served when all three have approved it")
    click.echo(f"plan {plan.hash}")


@click.command(help="Show the plan that was offered as NAME, and have the service of DIR serve it.")
@click.argument("name")
@click.option("--data", required=True, metavar="DIR", type=click.Path(path_type=Path), help="The service's folder.")
@click.option("--plan", "file", type=click.Path(path_type=Path), help="A plan from a file instead of an offer.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def approve(name: str, data: Path, file: Path | None, yes: bool) -> int:
    from mpc_runtime.plan_file import load
    from mpc_runtime.servers.approval import approve as approved
    from mpc_runtime.servers.approval import offered
    from mpc_runtime.servers.catalogue import Catalogue, check_name

    catalogue = Catalogue(data)
    plan, by = (load(file), str(file)) if file is not None else offered(catalogue, check_name(name))
    click.echo(f"{name}, from {by}\n")
    _show(plan)
    if (old := catalogue.deployed().get(name)) is not None and old != plan.hash:
        click.echo(f"\nIt replaces plan {old[:16]}, whose parameters are deleted.")
    if not yes and not click.confirm(f"\nServe it as {name}?"):
        click.echo(f"{name} is not approved", err=True)
        return EXIT_ERROR
    approved(catalogue, name, plan)
    click.echo(f"{name} is approved")
    return 0


@click.command(help="Fetch the plan that both parties serve as NAME, and pin it: a later change is an error.")
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The plan file  [default: NAME.plan]")
@click.option("--role", required=True, help="Your role.")
@click.option("--accept", is_flag=True, help="Pin the plan though it has changed.")
@click.option("--cluster", default="cluster.toml", show_default=True, type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="Secret key file  [default: ROLE.key beside it]")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds a party may take to answer.")
def fetch(
    name: str, output: Path | None, role: str, accept: bool, cluster: Path, key: Path | None, timeout: float
) -> None:
    from mpc_runtime.deployment.cluster import load_cluster
    from mpc_runtime.deployment.keys import key_path, load_key
    from mpc_runtime.deployment.lobby import Pins
    from mpc_runtime.deployment.lobby import fetch as fetched
    from mpc_runtime.errors import InputError

    machines = load_cluster(cluster)
    key = key or key_path(machines.path, role)
    keys = load_key(key)
    machines.check_key(role, keys)
    plan = fetched(machines, role, keys, name, timeout)
    pins = Pins(key.with_suffix(".pins.json"))
    if (problem := pins.problem(name, plan)) and not accept:
        raise InputError(f"{problem}\nIf this is meant, `mpcc fetch {name} --role {role} --accept` takes it")
    if problem or not pins.known(name):
        _show(plan)
    pins.pin(name, plan)
    output = output or Path(f"{name}.plan")
    try:
        plan.save(output)
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from None
    click.echo(f"wrote {output}: plan {plan.hash[:16]}, pinned in {pins.path}")


def _show(plan: Plan) -> None:
    """What is known of a plan without running it."""
    from mpc_runtime.analysis.cost import cost
    from mpc_runtime.analysis.leakage import manifest

    sizes = ", ".join(f"{name} = {size}" for name, size in plan.dims)
    click.echo(f"model {plan.name}" + (f" ({sizes})" if sizes else "") + f", roles {', '.join(plan.roles)}")
    click.echo(f"plan {plan.hash}\n\n{cost(plan)}\n\nrevealed")
    for sentence in manifest(plan):
        click.echo(f"  {sentence}")


def _only(roles: Sequence[str]) -> str:
    if len(roles) != 1:
        raise click.UsageError(f"--role is needed: one of {', '.join(roles)}")
    return roles[0]
