"""`mpcc bench`: how fast this machine is, from `mpc_runtime.bench`."""

from __future__ import annotations

from dataclasses import asdict

import click

from compiler.cli.options import echo_json


@click.command(help="Measure this machine's kernels, its loopback network and a small model.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def bench(as_json: bool) -> None:
    from mpc_runtime.bench import rows
    from mpc_runtime.kernels import variant

    speeds = []
    if not as_json:
        click.echo(f"kernels: {variant()}")
    for row in rows():
        speeds.append(row)
        if not as_json:
            ratio = f"   {row.ratio:.2f} of {row.yardstick}" if row.ratio is not None else ""
            click.echo(f"{row.what:<36}{row.value:>10.2f} {row.unit}{ratio}")
    if as_json:
        echo_json({"kernels": variant(), "speeds": [asdict(row) for row in speeds]})
