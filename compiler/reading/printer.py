"""The graph as readable text that is the same for the same graph: `mpcc compile --emit graph`, and golden tests."""

from __future__ import annotations

from dataclasses import fields

from compiler.graph import Constant, Graph, Input, Leaf, Output, Param, Prepared, State, Value, topological
from compiler.graph.interval import UNKNOWN
from compiler.ops.rules import typed
from mpc_runtime.errors import number
from mpc_runtime.procedure import RUN

SHOWN_ELEMENTS = 4  # a constant with more elements is printed as its range


def print_graph(graph: Graph) -> str:
    """One line a value: its number, its name, what makes it, its type, range, visibility, owners and source line."""
    precision = f"fixed(bits={graph.precision.bits}, frac={graph.precision.frac})"
    lines = [f"graph {graph.name} {precision}"]
    if graph.roles:
        lines.append(f"role {', '.join(graph.roles)}")
    lines += [f"dim {name} = {size}" for name, size in graph.dims.items()]
    for index, preparation in enumerate(graph.prepared):
        lines += ["", f"prepared {index}: {preparation.name} by {preparation.role}, stage {preparation.stage}"]
        lines += [f"  {line}" for line in _lines(topological([preparation.value]))]
    values = graph.values()
    lines += ["", *_lines(values), ""]
    place = {value: index for index, value in enumerate(values)}
    lines += [_left(output, place[output.value]) for output in graph.outputs]
    lines += [
        f"budget {each.source} of {each.role} = epsilon {number(each.epsilon)}, delta {number(each.delta)}"
        for each in graph.budgets
    ]
    return "\n".join(lines) + "\n"


def _left(output: Output, place: int) -> str:
    """Where a result goes: to roles, or to later executions."""
    stage = "" if output.stage == RUN else f" ({output.stage})"
    if output.keeps is not None:
        return f"keep {output.keeps.key} = %{place}{stage}"
    return f"output {output.name} = %{place} to {', '.join(output.roles)}{_noise(output)}{stage}"


def _noise(output: Output) -> str:
    noise = output.noise
    if noise is None:
        return ""
    proved = "proved" if noise.proved else "claimed"
    return (
        f" with {noise.law} of the {noise.made_by}, epsilon {number(noise.epsilon)}, delta {number(noise.delta)}, "
        f"sensitivity {number(noise.sensitivity)} ({proved}) + {number(noise.rounding)}"
    )


def _lines(values: list[Value]) -> list[str]:
    place = {value: index for index, value in enumerate(values)}
    rows = [(f"%{place[value]}", _made(value, place), _typed(value), _known_to(value)) for value in values]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return [
        f"{label:>{widths[0]}} = {made:<{widths[1]}}  {kind:<{widths[2]}}  {known}".rstrip()
        for label, made, kind, known in rows
    ]


def _made(value: Value, place: dict[Value, int]) -> str:
    op = value.op
    if isinstance(op, Constant):
        return f"constant {_elements(value)}"
    if isinstance(op, Input | Param):
        where = "".join(f"[{position}]" for position in op.index_path)
        stage = f" ({op.stage})" if isinstance(op, Input) and op.stage != RUN else ""
        return f"{op.name.lower()} {op.key}{where} from {op.role}{stage}"
    if isinstance(op, State):
        return f"state {op.key} ({op.stage})"
    if isinstance(op, Prepared):
        return f"prepared {op.index} from {op.role}"
    assert not isinstance(op, Leaf)
    settings = [f"{field.name}={_setting(getattr(op, field.name))}" for field in fields(op)]
    return f"{op.name}({', '.join([f'%{place[arg]}' for arg in value.args] + settings)})"


def _setting(setting: object) -> str:
    if isinstance(setting, tuple):
        return "[" + ", ".join(map(_setting, setting)) + "]"
    return number(setting) if isinstance(setting, float) else str(setting)


def _elements(value: Value) -> str:
    if value.size > SHOWN_ELEMENTS:
        return "[…]"
    return str(value.array.tolist()).lower()


def _typed(value: Value) -> str:
    return typed(value) if value.range == UNKNOWN else f"{typed(value)} in {value.range}"


def _known_to(value: Value) -> str:
    known = value.visibility.name.lower()
    if value.owners:
        known += f" of {', '.join(sorted(value.owners))}"
    if value.name is not None:
        known += f"; {value.name}"
    return known if value.span is None else f"{known} @{value.span.line}"
