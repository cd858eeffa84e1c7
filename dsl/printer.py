"""Two prints of a syntax tree: `dump`, every node with its place, and `unparse`, the `.ppml` text again.

`dump` is what `mpcc compile --emit ast` shows. `unparse` writes the program with as few brackets as the grammar needs;
parsed again, it gives an equal tree. Comments and line breaks are not part of the tree, and are lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields

from dsl import ast
from dsl.ast import Node, Operator

__all__ = ["dump", "expression", "unparse"]

INDENT = "  "


# Dump ---------------------------------------------------------------------------------------------------------------


def dump(node: Node) -> str:
    """The tree as indented text: the field's name, the node's class, its plain fields, and line:column."""
    lines: list[str] = []
    pending = [(node, "", 0)]
    while pending:  # without recursion: a chain of operators may be long
        each, label, depth = pending.pop()
        head, below = _dump(each)
        lines.append(f"{INDENT * depth}{label}{head}")
        pending += [(child, name, depth + 1) for name, child in reversed(below)]
    return "\n".join(lines) + "\n"


def _dump(node: Node) -> tuple[str, list[tuple[str, Node]]]:
    """The line of one node, and the labelled nodes below it."""
    plain, below = [], []
    for entry in fields(node):
        value = getattr(node, entry.name)
        if isinstance(value, Node):
            below.append((f"{entry.name}: ", value))
        elif isinstance(value, tuple):
            below += [(f"{entry.name}[{place}]: ", each) for place, each in enumerate(value)]
        elif entry.compare and value is not None:
            plain.append(_plain(entry.name, value))
    head = " ".join([type(node).__name__, *plain])
    return f"{head}  @{node.span.line}:{node.span.column}", below


def _plain(name: str, value: object) -> str:
    if isinstance(value, Operator):
        return value.value
    return f"{name}={value}" if isinstance(value, bool) else repr(value)


# Unparse ------------------------------------------------------------------------------------------------------------

# How tightly an expression holds together, from the grammar: an operand that holds looser needs brackets.
PIPE, OR, AND, NOT, COMPARE, SUM, PRODUCT, SIGN, POWER, POSTFIX = range(10)

PRECEDENCE = {
    Operator.OR: OR,
    Operator.AND: AND,
    Operator.NOT: NOT,
    Operator.LESS: COMPARE,
    Operator.LESS_EQUAL: COMPARE,
    Operator.GREATER: COMPARE,
    Operator.GREATER_EQUAL: COMPARE,
    Operator.EQUAL: COMPARE,
    Operator.NOT_EQUAL: COMPARE,
    Operator.ADD: SUM,
    Operator.SUB: SUM,
    Operator.MUL: PRODUCT,
    Operator.DIV: PRODUCT,
    Operator.MATMUL: PRODUCT,
    Operator.NEG: SIGN,
    Operator.POW: POWER,
}


def unparse(model: ast.Model, above: Mapping[int, Sequence[str]] | None = None) -> str:
    """The `.ppml` text of a model, which parses to an equal tree.

    `above` has lines that are put above statements, by the place of the statement: comments, without their `#`, and
    empty lines. Those of place -1 are put above the model.
    """
    remarks = above or {}
    lines = [*_remarks(remarks.get(-1, ())), f"model {model.name.id}"]
    for place, statement in enumerate(model.statements):
        lines += [*_remarks(remarks.get(place, ())), *_lines([statement], 0)]
    return "\n".join(lines) + "\n"


def expression(node: ast.Expression) -> str:
    """The text of an expression."""
    return _expression(node)


def _remarks(lines: Iterable[str]) -> Iterator[str]:
    yield from (f"# {line}" if line else "" for line in lines)


def _lines(statements: Iterable[Node], depth: int) -> Iterator[str]:
    indent = INDENT * depth
    for statement in statements:
        match statement:
            case ast.For(name=name, start=start, stop=stop, body=body):
                yield f"{indent}for {name.id} in {_expression(start)}..{_expression(stop)} {{"
                yield from _lines(body, depth + 1)
                yield f"{indent}}}"
            case ast.Def(name=name, formals=formals, body=body, result=result):
                yield f"{indent}def {name.id}({', '.join(map(_formal, formals))}) {{"
                yield from _lines(body, depth + 1)
                yield f"{indent}{INDENT}return {_expression(result)}"
                yield f"{indent}}}"
            case ast.Train(body=body):
                yield f"{indent}train {{"
                yield from _lines(body, depth + 1)
                yield f"{indent}}}"
            case _:
                yield indent + _statement(statement)


def _statement(statement: Node) -> str:
    match statement:
        case ast.Role(roles=roles):
            return f"role {_refs(roles)}"
        case ast.Dim(name=name, default=default):
            return f"dim {name.id} = {_expression(default)}"
        case ast.Precision(bits=bits, frac=frac):
            words = [f"{word}={_expression(each)}" for word, each in (("bits", bits), ("frac", frac)) if each]
            return f"precision fixed({', '.join(words)})"
        case ast.Const(name=name, value=value):
            return f"const {name.id} = {_expression(value)}"
        case ast.Input(name=name, type=kind):
            return f"input {name.id} : {_type(kind)}{_owner(statement)}{_noise(statement.noise)}"
        case ast.Param(name=name, type=kind):
            return f"param {name.id} : {_type(kind)}{_owner(statement)}"
        case ast.Weights(names=names):
            listed = ", ".join(name.id for name in names)
            return f"weights {listed}".rstrip() + _owner(statement) + _noise(statement.norm)
        case ast.Layer(target=target, value=value):
            return f"layer {_ref(target)} = {_expression(value)}"
        case ast.Value(name=name, value=value, range=limits):
            return f"{name.id} = {_expression(value)}{_range(limits)}"
        case ast.Output(name=name, value=value, roles=roles, noise=noise, parties=parties):
            head = f"output {name.id} = " if name is not None else "output "
            tail = _noise(noise) + (" from parties" if parties else "")
            return f"{head}{_expression(value)} to {_refs(roles)}{tail}"
        case ast.Budget(name=name, value=value):
            return f"budget {name.id} = {_expression(value)}"
        case ast.Freeze(names=names):
            return f"freeze {', '.join(name.id for name in names)}"
        case ast.Metric(name=name, roles=roles):
            return f"metric {name.id} to {_refs(roles)}"
        case ast.OutputWeights(roles=roles):
            return f"output weights to {_refs(roles)}"
    raise TypeError(f"{type(statement).__name__} is not a statement")


def _owner(statement: ast.Input | ast.Param | ast.Weights) -> str:
    public = " public" if statement.public else ""
    return f" from {_ref(statement.role)}{public}{_range(statement.range)}"


def _noise(noise: ast.Expression | None) -> str:
    """What stands behind `with`: noise, or what norm weights have."""
    return "" if noise is None else f" with {_expression(noise)}"


def _range(limits: ast.Range | None) -> str:
    if limits is None:
        return ""
    measured = "measured " if limits.measured else ""
    return f" in {measured}[{_expression(limits.lo)}, {_expression(limits.hi)}]"


def _type(kind: ast.Type) -> str:
    word = "" if kind.kind == "fixed" else kind.kind
    return f"{word}[{_list(kind.dims)}]"


def _formal(formal: ast.Formal) -> str:
    default = "" if formal.default is None else f"={_expression(formal.default)}"
    return formal.name.id + default


def _ref(ref: ast.Ref) -> str:
    return ref.name.id + ("" if ref.index is None else f"[{_expression(ref.index)}]")


def _refs(refs: Iterable[ast.Ref]) -> str:
    return ", ".join(map(_ref, refs))


def _list(items: Iterable[ast.Expression]) -> str:
    return ", ".join(map(_expression, items))


def _expression(expression: Node, least: int = PIPE) -> str:
    """The expression, in brackets if it holds looser than `least`."""
    text, level = _text(expression)
    return text if level >= least else f"({text})"


def _text(expression: Node) -> tuple[str, int]:
    """The expression without brackets around it, and how tightly it holds together."""
    match expression:
        case ast.Name(id=name):
            return name, POSTFIX
        case ast.Number(value=value):
            return repr(value), POSTFIX
        case ast.String(value=value):
            return f'"{value}"', POSTFIX
        case ast.Boolean(value=value):
            return "true" if value else "false", POSTFIX
        case ast.List(items=items):
            return f"[{_list(items)}]", POSTFIX
        case ast.Unary(operator=operator, operand=operand):
            level = PRECEDENCE[operator]
            sign = "-" if operator is Operator.NEG else "not "
            return sign + _expression(operand, level), level
        case ast.Binary() | ast.Pipe():
            return _chain(expression)
        case ast.Call(function=function, arguments=arguments):
            return f"{_expression(function, POSTFIX)}({', '.join(map(_argument, arguments))})", POSTFIX
        case ast.Index(value=value, subscripts=subscripts):
            return f"{_expression(value, POSTFIX)}[{', '.join(map(_subscript, subscripts))}]", POSTFIX
        case ast.Attribute(value=value, name=name):
            return f"{_expression(value, POSTFIX)}.{name.id}", POSTFIX
    raise TypeError(f"{type(expression).__name__} is not an expression")


def _chain(expression: ast.Binary | ast.Pipe) -> tuple[str, int]:
    """`a + b + c` and `x |> f |> g` from the left, without recursion: they may be long."""
    links: list[ast.Binary | ast.Pipe] = []
    left: ast.Expression = expression
    while isinstance(left, ast.Binary | ast.Pipe):
        links.append(left)
        left = left.left
    text, level = _text(left)
    for link in reversed(links):
        sign = "|>" if isinstance(link, ast.Pipe) else link.operator.value
        least_left, least_right = _least(link)
        text = f"{text if level >= least_left else f'({text})'} {sign} {_expression(link.right, least_right)}"
        level = PIPE if isinstance(link, ast.Pipe) else PRECEDENCE[link.operator]
    return text, level


def _least(link: ast.Binary | ast.Pipe) -> tuple[int, int]:
    """How tightly the operands on the left and on the right must hold to stand without brackets."""
    level = PIPE if isinstance(link, ast.Pipe) else PRECEDENCE[link.operator]
    if level == POWER:
        return POSTFIX, SIGN  # groups to the right; `x ** -1` is fine
    if level == COMPARE:
        return SUM, SUM  # comparisons do not chain
    return level, level + 1


def _argument(argument: ast.Argument) -> str:
    value = _expression(argument.value)
    return value if argument.name is None else f"{argument.name.id}={value}"


def _subscript(subscript: Node) -> str:
    match subscript:
        case ast.Dots():
            return "..."
        case ast.Slice(start=start, stop=stop, step=step):
            parts = ["" if each is None else _expression(each) for each in (start, stop)]
            return ":".join(parts) + ("" if step is None else f":{_expression(step)}")
    return _expression(subscript)
