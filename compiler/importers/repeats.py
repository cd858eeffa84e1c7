"""Parts of a model that are alike, as instances of one `def`: residual blocks, layers of an encoder.

Between two values that all of the model flows through lies a segment of its terms. Segments that differ in their
tensors only, and in how many units or channels their layers have, are alike. A run of segments that occurs several
times, with at least two layers, becomes a `def`, the run that saves most lines first. A tensor that two of its layers
have in common is given to both: exporters merge tensors that are equal by chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.importers.lowering import Lowered
from compiler.importers.names import is_automatic, path_of
from compiler.importers.terms import (
    Call,
    Formal,
    Group,
    Indexed,
    Instance,
    Layer,
    Option,
    Repeated,
    Source,
    Table,
    Term,
    Weight,
    postorder,
)

VARYING = ("units", "out")
"""Options of layers that may differ between the instances of a `def`: they become its arguments."""

LEAST_LAYERS = 2  # of what is worth a `def`
LONGEST = 40  # segments of a run: of an encoder's layer, four


def repeated(lowered: Lowered) -> Lowered:
    """The model with what is repeated as terms of the form `Repeated`."""
    outputs = [term for _, term in lowered.outputs]
    segments = list(_segments(outputs))
    marks = _marks(segments)
    taken = [False] * len(segments)
    replaced: dict[int, Repeated] = {}
    while (run := _best(marks, segments, taken)) is not None:
        group = Group([])
        for start in run.starts:
            parts = segments[start : start + run.length]
            taken[start : start + run.length] = [True] * run.length
            layers = [term for part in parts for term in part.terms if isinstance(term.form, Layer)]
            group.instances.append(Instance(parts[0].entry, parts[-1].exit, tuple(layers)))
            replaced[id(parts[-1].exit)] = Repeated(group, len(group.instances) - 1)
    if not replaced:
        return lowered
    rebuilt = _rebuilt(outputs, replaced)
    found = tuple((name, rebuilt[id(term)]) for name, term in lowered.outputs)
    return replace(lowered, outputs=found)


# -- segments ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Segment:
    """The terms that data flows through behind `entry`, up to `exit`, which alone the rest of the model needs."""

    entry: Term
    terms: Sequence[Term]

    @property
    def exit(self) -> Term:
        return self.terms[-1]


def _segments(outputs: Sequence[Term]) -> Iterator[_Segment]:
    """Between values before which nothing else is used behind them."""
    order = [term for term in postorder(outputs) if _flows(term)]
    place = {id(term): at for at, term in enumerate(order)}
    last = list(range(len(order)))
    for at, term in enumerate(order):
        for arg in term.args:
            if id(arg) in place:
                last[place[id(arg)]] = at
    for term in outputs:
        if id(term) in place:
            last[place[id(term)]] = len(order)
    entry, reach = None, -1
    for at, latest in enumerate(last):
        if reach <= at:
            if entry is not None:
                yield _Segment(order[entry], order[entry + 1 : at + 1])
            entry = at
        reach = max(reach, latest)


def _flows(term: Term) -> bool:
    """Whether an input of the model goes into it."""
    return isinstance(term.form, Source) or any(not _constant(arg) for arg in term.args)


def _constant(term: Term) -> bool:
    return not isinstance(term.form, Source) and all(_constant(arg) for arg in term.args)


# -- alike -------------------------------------------------------------------------------------------------------------


def _marks(segments: Sequence[_Segment]) -> list[int]:
    """A number for each segment, equal for those that are alike; of its own for one that no `def` can hold."""
    numbers: dict[object, int] = {}
    found = []
    for at, segment in enumerate(segments):
        places = {id(term): place for place, term in enumerate(segment.terms)} | {id(segment.entry): -1}
        parts = [_mark(term, places) for term in segment.terms]
        key: object = ("alone", at) if None in parts else tuple(parts)
        found.append(numbers.setdefault(key, len(numbers)))
    return found


def _mark(term: Term, places: Mapping[int, int]) -> object:
    """What a term is but for tensors and sizes; None for what a `def` cannot hold."""
    match term.form:
        case Call(name=name, options=options):
            what: object = (name, repr(options))
        case Indexed(items=items):
            what = repr(items)
        case Layer(kind=kind, options=options, arrays=arrays, note=note):
            if kind == "embedding":  # its tensor may be a weight elsewhere
                return None
            kept = [(key, value if key not in VARYING else None) for key, value in options]
            what = (kind, repr(kept), tuple(arrays), note)
        case _:
            return None
    args = []
    for arg in term.args:
        known = places.get(id(arg)) if id(arg) in places else _known(arg)
        if known is None:
            return None
        args.append(known)
    return what, tuple(args), term.kind


def _known(term: Term) -> object:
    """A table, and what is computed of tables; None where a tensor of the owner's is among them."""
    match term.form:
        case Table(array=array, endless=endless):
            return array.dtype.str, array.shape, array.tobytes(), endless
        case Call(name=name, options=options) if term.args:
            args = [_known(arg) for arg in term.args]
            return None if None in args else (name, repr(options), tuple(args))
        case Weight() | _:
            return None


@dataclass(frozen=True)
class _Run:
    """Segments in a row, and where they start, again and again. opens: whether they begin with a layer."""

    starts: Sequence[int]
    length: int
    saved: int
    opens: bool


def _best(marks: Sequence[int], segments: Sequence[_Segment], taken: Sequence[bool]) -> _Run | None:
    """Of the runs that are left, the one that saves most; of equals the one that begins with a layer, or the first."""
    best: _Run | None = None
    for length in range(1, min(LONGEST, len(marks) // 2) + 1):
        runs: dict[tuple[int, ...], list[int]] = {}
        for start in range(len(marks) - length + 1):
            if any(taken[start : start + length]):
                continue
            starts = runs.setdefault(tuple(marks[start : start + length]), [])
            if not starts or start >= starts[-1] + length:
                starts.append(start)
        for run, starts in runs.items():
            terms = [term for each in segments[starts[0] : starts[0] + length] for term in each.terms]
            layers = sum(isinstance(term.form, Layer) for term in terms)
            if len(starts) < 2 or layers < LEAST_LAYERS or _overlaps(run):
                continue
            saved = (len(starts) - 1) * len(terms)
            opens = any(isinstance(term.form, Layer) for term in segments[starts[0]].terms)
            if best is None or (saved, opens) > (best.saved, best.opens):
                best = _Run(starts, length, saved, opens)
    return best


def _overlaps(run: tuple[int, ...]) -> bool:
    """Whether it ends as it begins: it is then cut out of a shorter run that goes on and on."""
    return any(run[shift:] == run[:-shift] for shift in range(1, len(run)))


def _rebuilt(outputs: Sequence[Term], replaced: Mapping[int, Repeated]) -> dict[int, Term]:
    """The new term for each old one."""
    found: dict[int, Term] = {}
    pending = [(term, False) for term in outputs]
    while pending:
        term, done = pending.pop()
        if id(term) in found:
            continue
        form = replaced.get(id(term))
        args = term.args if form is None else (form.group.instances[form.place].entry,)
        if not done:
            pending.append((term, True))
            pending += [(arg, False) for arg in args]
            continue
        new = tuple(found[id(arg)] for arg in args)
        same = form is None and all(a is b for a, b in zip(new, args, strict=True))
        found[id(term)] = term if same else Term(form or term.form, new, term.values, term.hint)
    return found


# -- a `def` -----------------------------------------------------------------------------------------------------------


def varying(group: Group) -> Iterator[tuple[int, str, tuple[Option, ...]]]:
    """The options that differ between instances: the layer's place, the option's name, and its value in each."""
    for at, layers in enumerate(zip(*(each.layers for each in group.instances), strict=True)):
        options = [dict(layer.form.options) for layer in layers if isinstance(layer.form, Layer)]
        for key in VARYING:
            column = tuple(each[key] for each in options if key in each)
            if len(set(column)) > 1:
                yield at, key, column


def generic(group: Group, formals: Mapping[tuple[Option, ...], str]) -> Instance:
    """The first instance with formals for what differs, and its layers called by the rest of their paths."""
    first = group.instances[0]
    differ = {(at, key): Formal(formals[column]) for at, key, column in varying(group)}
    above = common([path_of(layer.hint) for layer in first.layers])
    place = {id(layer): at for at, layer in enumerate(first.layers)}
    new: dict[int, Term] = {id(first.entry): first.entry}
    for term in postorder([first.exit], first.entry):
        if term is first.entry:
            continue
        form, hint = term.form, ""
        if isinstance(form, Layer):
            at = place[id(term)]
            options = tuple((key, differ.get((at, key), value)) for key, value in form.options)
            form = Layer(form.kind, options, form.arrays, form.note)
            path = path_of(term.hint)
            rest = path.removeprefix(f"{above}.") if path.startswith(f"{above}.") else path.rpartition(".")[2]
            hint = f"part{rest}" if rest[:1].isdigit() else "" if is_automatic(path) else rest
        new[id(term)] = Term(form, tuple(new[id(arg)] for arg in term.args), term.values, hint)
    return Instance(first.entry, new[id(first.exit)], tuple(new[id(layer)] for layer in first.layers))


def common(paths: Sequence[str]) -> str:
    """What the paths of layers begin with, part by part: of a tensor that an exporter merged with another, its path is
    elsewhere, so that most of them count."""
    split = [path.split(".") for path in paths]
    for count in range(max(map(len, split), default=0) - 1, 0, -1):
        begins = Counter(tuple(parts[:count]) for parts in split if len(parts) > count)
        (most, number), *_ = begins.most_common(1)
        if 3 * number >= 2 * len(paths):
            return ".".join(most)
    return ""
