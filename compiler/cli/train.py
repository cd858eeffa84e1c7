"""`mpcc train`: a dealer, two parties and all roles on this machine, and a `train` block's model trained by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compiler.cli.options import (
    axes_of,
    echo_json,
    expect_outputs,
    load_program,
    output_names,
    pairs,
    program_options,
    read_inputs,
    read_parameters,
    show_results,
    write_results,
)

if TYPE_CHECKING:
    from mpc_runtime.sessions.history import History

WEIGHTS, CHECKPOINT = "weights", "mpcc train"


@click.command(help="Train the model of FILE with the dealer, both parties and all roles as processes on this machine.")
@program_options
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Weights to begin with (default: random ones); repeats.",
)
@click.option("--rename", "renames", multiple=True, metavar="OLD=NEW", help="Reads OLD.weight as NEW.weight; repeats.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE", help="An input, any number of rows; repeats.")
@click.option("--epochs", default=1, show_default=True, help="How often all rows are used.")
@click.option("--seed", type=int, help="Decides the order of the rows, and the random weights (default: random).")
@click.option(
    "--validation",
    multiple=True,
    metavar="NAME=FILE",
    help="An input of rows that are not learnt from, for the metrics behind every epoch; repeats.",
)
@click.option(
    "--patience",
    type=int,
    help="Ends when the first metric was no better for so many epochs, counted anew after a resume.",
)
@click.option(
    "--resume",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep checkpoints in DIR, and go on from the last one in it, if there is one.",
)
@click.option("--check-every", default=50, show_default=True, help="Steps between checkpoints.")
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="weights=FILE",
    help="File for the trained weights (default: print them).",
)
@click.option("--timeout", default=60.0, show_default=True, help="Seconds a machine may take to answer.")
@click.option("--json", "as_json", is_flag=True, help="What was seen of every epoch, as JSON.")
def train(
    file: Path,
    dims: tuple[str, ...],
    network: str | None,
    params: tuple[str, ...],
    renames: tuple[str, ...],
    inputs: tuple[str, ...],
    epochs: int,
    seed: int | None,
    validation: tuple[str, ...],
    patience: int | None,
    folder: Path | None,
    check_every: int,
    outputs: tuple[str, ...],
    timeout: float,
    as_json: bool,
) -> int:
    program = load_program(file, dims, network)
    finishes = any(p.name == "finish" for p in program.plan.procedures)
    paths = _weights_files(outputs, output_names(program.plan, program.plan.roles, "finish") if finishes else [])
    axes = axes_of(program.plan)
    values, weights = read_inputs(inputs, axes), read_parameters(params, axes)
    from mpc_runtime.program import launch

    with launch(program, timeout=timeout, data_dir=folder) as session:
        begun = weights or program.initial_weights(seed)
        session.provide(begun, rename=pairs(renames, "--rename"))
        show = None if as_json else lambda epoch: click.echo(str(epoch), err=True)
        history = session.fit(
            values,
            epochs=epochs,
            seed=seed,
            validation=read_inputs(validation, axes) if validation else None,
            patience=patience,
            on_epoch=show,
            checkpoint=CHECKPOINT if folder is not None else None,
            check_every=check_every,
            resume=folder is not None,
        )
        trained = session.finish() if finishes and (outputs or not as_json) else {}
    if folder is not None and not as_json:
        click.echo(f"went on from step {history.resumed}" if history.resumed else "began with the first step", err=True)
    for path in paths:
        write_results(trained, [path])
    if as_json:
        echo_json(_plain(history))
        return 0
    if history.epsilon is not None:
        click.echo(str(history.epsilon), err=True)
    if not outputs:
        show_results(trained, [])
    return 0


def _weights_files(outputs: Sequence[str], released: Sequence[str]) -> list[str]:
    """The files for these parameters, `weights=FILE` or FILE. InputError for one that cannot hold them, or for another
    output."""
    from mpc_runtime.roles.files import check_writable

    named = pairs([each if "=" in each else f"{WEIGHTS}={each}" for each in outputs], "--output")
    expect_outputs(list(named), [WEIGHTS] if released else [])
    for path in named.values():
        check_writable(path, len(released))
    return list(named.values())


def _plain(history: History) -> dict[str, object]:
    """What was seen, as JSON data."""
    epochs = [
        {
            "epoch": epoch.number,
            "steps": epoch.steps,
            "seconds": epoch.seconds,
            "outputs": {name: value.tolist() for name, value in epoch.outputs.items()},
            "metrics": dict(epoch.metrics),
        }
        for epoch in history.epochs
    ]
    seen = {name: getattr(history, name) for name in ("seed", "resumed", "steps", "stopped")}
    epsilon = history.epsilon
    cost = {} if epsilon is None else {"epsilon": asdict(epsilon)}
    return {**seen, "epochs": epochs, **cost}
