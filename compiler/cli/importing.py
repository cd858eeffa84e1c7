"""`mpcc import`: a readable `.ppml` and its weights from an ONNX model."""

from __future__ import annotations

from pathlib import Path

import click

from compiler.cli.options import echo_json, read_inputs, sizes_of

WEIGHTS = ".safetensors"


@click.command(
    name="import",
    help="Write MODEL, an ONNX file, as a .ppml that you can read and change, and its weights beside it.",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The .ppml file to write (default: MODEL.ppml).")
@click.option("--role", default="client", show_default=True, help="Who provides the inputs and learns the results.")
@click.option("--owner", default="modeller", show_default=True, help="Who provides the weights.")
@click.option("--dim", "dims", multiple=True, metavar="NAME=N", help="A size that the model leaves open; repeats.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE", help="Samples of an input, for its range.")
@click.option("--json", "as_json", is_flag=True, help="What was written, as JSON.")
def import_(
    model: Path,
    output: Path | None,
    role: str,
    owner: str,
    dims: tuple[str, ...],
    inputs: tuple[str, ...],
    as_json: bool,
) -> None:
    from mpc_runtime.errors import amount
    from mpc_runtime.models import written
    from mpc_runtime.roles.files import check_writable, write

    output = output or model.with_suffix(".ppml")
    if output.suffix != ".ppml":
        raise click.BadParameter(f"expected a file that ends in .ppml, found {output}", param_hint="-o")
    weights = output.with_suffix(WEIGHTS)
    check_writable(weights, 0)
    found = written(model, role=role, owner=owner, dims=sizes_of(dims), inputs=read_inputs(inputs, {}))
    _write_text(output, found.text)
    if found.weights:
        write(weights, found.weights)
    count = sum(array.size for array in found.weights.values())
    if as_json:
        held = str(weights) if found.weights else None
        echo_json({"file": str(output), "weights": held, "tensors": len(found.weights), "numbers": count})
        return
    lines = f"{output}: {amount(len(found.text.splitlines()), 'line')}"
    if not found.weights:
        click.echo(f"{lines}; the model has no weights")
        return
    click.echo(f"{lines}; {weights}: {amount(len(found.weights), 'tensor')}, {amount(count, 'number')}")
    click.echo(f"next: mpcc calibrate {output} --param {weights} writes ranges that the weights prove")


def _write_text(path: Path, text: str) -> None:
    from mpc_runtime.errors import InputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
