"""LSTM, GRU and RNN. What PyTorch's layers compute is a layer; other variants are unrolled, step after step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from compiler.graph import Array
from compiler.importers.known import Known, plain
from compiler.importers.nodes import Absent, Node, Result, axis_at
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import Size
from compiler.importers.terms import Term, call, index, layer

DEFAULTS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
"""PyTorch's order of the gates, as places in ONNX's: i f g o of i o f c, and r z n of z r h."""
KEYS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
WHOLE = slice(None)


def recurrent(node: Node) -> Result:
    """The states of all positions, the last one, and of an LSTM the last cell."""
    x, count = node.term(0), _directions(node)
    time_first = not node.attribute("layout", 0)
    _check(node, x)
    rows = call("transpose", x, axes=(1, 0, 2)) if time_first else x
    names = _activations(node, count)
    size = node.array(2, "its weights").shape[2]
    as_layer = names == DEFAULTS[node.op] * count and node.op in GATES and _from_zero(node)
    if node.op == "LSTM":
        as_layer = as_layer and not any(node.outputs[2:])  # the layer keeps its last cell to itself
    else:
        as_layer = as_layer and bool(node.attribute("linear_before_reset", 0))
    if as_layer:
        states, last, cell = _layer(node, rows, count, size)
    else:
        states, last, cell = _unrolled(node, rows, count, size, names)
    together = (states[0], last[0]) if count == 1 else (call("concat", *states, axis=2), None)
    trials = node.trials
    batch, steps = rows.shape[0], rows.shape[1]
    one = Size((count,) * trials)
    if count == 1:
        ordered = call("transpose", states[0], axes=(1, 0, 2)) if time_first else states[0]
        every = call("unsqueeze", ordered, axis=1 if time_first else 2)
    else:
        apart = call("reshape", together[0], shape=(batch, steps, one, Size((size,) * trials)))
        every = call("transpose", apart, axes=(1, 2, 0, 3)) if time_first else apart
    axis = 0 if time_first else 1
    final = call("stack", *last, axis=axis or None) if count > 1 else call("unsqueeze", last[0], axis=axis)
    if node.op != "LSTM":
        return every, final
    cells: Term | Absent = Absent("the last cell of an LSTM", "use its last state")
    if cell:
        cells = call("stack", *cell, axis=axis or None) if count > 1 else call("unsqueeze", cell[0], axis=axis)
    return every, final, cells


def _directions(node: Node) -> int:
    return 2 if node.attribute("direction", b"forward") == b"bidirectional" else 1


def _check(node: Node, x: Term) -> None:
    if node.attribute("clip", 0.0):
        raise Unsupported("its cells are clipped", "export the model without `clip`")
    if node.attribute("input_forget", 0):
        raise Unsupported("its input and forget gates are coupled", "train with separate gates")
    if node.has(7) and node.array(7, "its peepholes").any():
        raise Unsupported("it has peepholes", "train without them")
    steps = x.shape[1 if node.attribute("layout", 0) else 0]
    if node.has(4):
        lengths = node.known(4, "the lengths of the sequences")
        if any((array != size).any() for array, size in zip(lengths.arrays, steps.values, strict=True)):
            raise Unsupported("its sequences have lengths of their own", "export with sequences of one length")


def _activations(node: Node, count: int) -> list[str]:
    given = [each.decode().lower() for each in node.attribute("activations", [])]
    if any(name not in ("sigmoid", "tanh", "relu", "hardsigmoid") for name in given):
        raise Unsupported(
            f"its activations are {', '.join(given)}", "Sigmoid, HardSigmoid, Tanh and Relu are supported"
        )
    return given or DEFAULTS[node.op] * count


def _functions(node: Node, names: Sequence[str]) -> list[Callable[[Term], Term]]:
    """Of the activations, HardSigmoid alone takes a slope and a shift, in their order."""
    slopes, shifts = (iter(node.attribute(f"activation_{word}", ())) for word in ("alpha", "beta"))

    def hard(slope: float, shift: float) -> Callable[[Term], Term]:
        a, b = (float(plain(np.float32(number))) for number in (slope, shift))
        return lambda x: call("clip", call("+", call("*", x, a), b), lo=0, hi=1)

    return [
        hard(next(slopes, 0.2), next(shifts, 0.5)) if name == "hardsigmoid" else partial(call, name) for name in names
    ]


def _from_zero(node: Node) -> bool:
    """Whether it starts from states of 0."""
    for place in (5, 6):
        if node.has(place):
            value = node.value(place)
            if not isinstance(value, Known) or any(array.any() for array in value.arrays):
                return False
    return True


def _parts(node: Node, direction: int) -> tuple[Array, Array, Array]:
    """W [gates * size, in], R [gates * size, size], B [2 * gates * size] of a direction."""
    w, r = node.array(1, "its weights")[direction], node.array(2, "its weights")[direction]
    b = node.array(3, "its bias")[direction] if node.has(3) else np.zeros(2 * len(w), w.dtype)
    return w, r, b


def _reordered(node: Node, array: Array, size: int) -> Array:
    blocks = array.reshape(-1, size, *array.shape[1:])
    return np.asarray(blocks[list(GATES[node.op])].reshape(array.shape))


def _layer(node: Node, x: Term, count: int, size: int) -> tuple[list[Term], list[Term], list[Term]]:
    """PyTorch's layer, for each direction its states and its last state."""
    held: dict[str, Array] = {}
    for direction in range(count):
        w, r, b = _parts(node, direction)
        tail = "_reverse" if direction else ""
        pairs = zip(KEYS, (w, r, *np.split(b, 2)) if node.has(3) else (w, r), strict=False)
        held |= {f"{key}_l0{tail}": _reordered(node, each, size) for key, each in pairs}
    backwards = node.attribute("direction", b"forward") == b"reverse"
    turned = index(x, WHOLE, slice(None, None, -1)) if backwards else x
    hint = node.known(1, "its weights").hint
    both = True if count == 2 else None
    made = layer(node.op.lower(), turned, held, hint, size=size, bidirectional=both)
    forward = index(made, ..., slice(None, size)) if count == 2 else made
    if count == 2:
        back = index(made, ..., slice(size, None))
        return [forward, back], [index(forward, WHOLE, -1), index(back, WHOLE, 0)], []
    states = index(made, WHOLE, slice(None, None, -1)) if backwards else made
    return [states], [index(made, WHOLE, -1)], []


# -- step after step ---------------------------------------------------------------------------------------------------

MAX_STEPS = 128


def _unrolled(
    node: Node, x: Term, count: int, size: int, names: Sequence[str]
) -> tuple[list[Term], list[Term], list[Term]]:
    steps = x.shape[1].fixed
    if steps > MAX_STEPS:
        raise Unsupported(f"{steps} steps, which are written one by one", f"at most {MAX_STEPS} are supported")
    states, finals, cells = [], [], []
    per, functions = len(names) // count, _functions(node, names)
    for direction in range(count):
        backwards = direction == 1 or node.attribute("direction", b"forward") == b"reverse"
        h, c = (_initial(node, place, direction, size, x) for place in (5, 6))
        run = _steps(node, direction, size, functions[direction * per : (direction + 1) * per], x)
        found: list[Term] = []
        for step in range(steps)[:: -1 if backwards else 1]:
            h, c = run(step, h, c)
            assert h is not None
            found.append(call("unsqueeze", h, axis=1))
        ordered = found[::-1] if backwards else found
        states.append(call("concat", *ordered, axis=1) if len(ordered) > 1 else ordered[0])
        assert h is not None
        finals.append(h)
        cells += [c] if c is not None else []
    return states, finals, cells


def _initial(node: Node, place: int, direction: int, size: int, x: Term) -> Term | None:
    """A state to start from, [batch, size]; None for 0."""
    if not node.has(place):
        return None
    value = node.value(place)
    if isinstance(value, Known) and not any(array.any() for array in value.arrays):
        return None
    term = node.term(place)
    lead = [WHOLE] if node.attribute("layout", 0) else []
    return index(term, *lead, direction)


Step = Callable[[int, "Term | None", "Term | None"], "tuple[Term, Term | None]"]


def _steps(node: Node, direction: int, size: int, apply: Sequence[Callable[[Term], Term]], x: Term) -> Step:
    """One step: from position, state and cell to the next ones. W x + b of all positions is computed once."""
    w, r, b = _parts(node, direction)
    gates = len(w) // size
    hint = node.known(1, "its weights").hint
    bw, br = np.split(b, 2)
    separate = node.op == "GRU" and bool(node.attribute("linear_before_reset", 0))
    kept = 2 * size if node.op == "GRU" else gates * size
    merged = bw.copy()
    merged[:kept] += br[:kept]
    if node.op == "GRU" and not separate:
        merged[kept:] += br[kept:]
    fed = layer("dense", x, {"weight": w, "bias": merged}, hint, units=len(w))
    parts = [np.ascontiguousarray(each) for each in np.split(r, [kept])] if node.op == "GRU" else [r]

    def gate(step: int, place: int) -> Term:
        return index(fed, WHOLE, step, slice(place * size, (place + 1) * size))

    def recur(h: Term, matrix: Array, bias: Array | None = None) -> Term:
        held = {"weight": matrix} if bias is None else {"weight": matrix, "bias": bias}
        return layer("dense", h, held, f"{hint}.state", units=len(matrix))

    def rnn(step: int, h: Term | None, c: Term | None) -> tuple[Term, Term | None]:
        total = gate(step, 0) if h is None else call("+", gate(step, 0), recur(h, r))
        return apply[0](total), None

    def gru(step: int, h: Term | None, c: Term | None) -> tuple[Term, Term | None]:
        """h' = (1 - z) n + z h = n + z (h - n)."""
        if h is None:
            z, n = apply[0](gate(step, 0)), gate(step, 2)
            if separate:
                reset = apply[0](gate(step, 1))
                n = call("+", n, call("*", reset, _row(br[kept:], x)))
            n = apply[1](n)
            return call("-", n, call("*", z, n)), None
        both = recur(h, parts[0])
        z = apply[0](call("+", gate(step, 0), index(both, WHOLE, slice(None, size))))
        reset = apply[0](call("+", gate(step, 1), index(both, WHOLE, slice(size, None))))
        lone = recur(h, parts[1], br[kept:]) if separate else None
        inner = recur(call("*", reset, h), parts[1]) if lone is None else call("*", reset, lone)
        n = apply[1](call("+", gate(step, 2), inner))
        return call("+", n, call("*", z, call("-", h, n))), None

    def lstm(step: int, h: Term | None, c: Term | None) -> tuple[Term, Term | None]:
        more = None if h is None else recur(h, r)
        total = [gate(step, place) for place in range(4)]
        if more is not None:
            total = [
                call("+", each, index(more, WHOLE, slice(place * size, (place + 1) * size)))
                for place, each in enumerate(total)
            ]
        i, o, f = (apply[0](each) for each in total[:3])
        fresh = call("*", i, apply[1](total[3]))
        cell = fresh if c is None else call("+", call("*", f, c), fresh)
        return call("*", o, apply[2](cell)), cell

    return {"RNN": rnn, "GRU": gru, "LSTM": lstm}[node.op]


def _row(array: Array, x: Term) -> Term:
    from compiler.importers.terms import weight

    return weight(array, len(x.values))


def reverse_sequence(node: Node) -> Result:
    """Whole sequences from the last element to the first."""
    x, lengths = node.term(0), node.known(1, "the lengths of the sequences")
    time = axis_at(int(node.attribute("time_axis", 0)), x.rank)
    if any((array != size).any() for array, size in zip(lengths.arrays, x.shape[time].values, strict=True)):
        raise Unsupported("it turns only a part of each sequence", "export with sequences of one length")
    return index(x, *[WHOLE] * time, slice(None, None, -1))


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "ReverseSequence": reverse_sequence,
}
