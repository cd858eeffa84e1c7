"""Mutated source texts: whatever somebody types, the compiler answers with a plan or with errors that point into it.

`sources` are the real texts of the tree, `mutated` one of them with a few slips, small or absurd, and `finding` what
the compiler did wrong with it: another exception, or an error without a place. The long run bounds time and memory too:

    python -m tests.fuzz.mutations --sources 20000 --seed 1          # all of them, in two processes
    python -m tests.fuzz.mutations --seed 1 --only 4711              # one of them, printed first and made smaller last
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random

import mpc_runtime as mpc
from compiler.ops import FUNCTIONS, LAYERS
from dsl import grammar
from dsl.errors import Diagnostic
from tests.fuzz import longrun

ROOT = Path(__file__).parents[2]
NAME = "mutated.ppml"

PIECE = re.compile(r"[ \t]+|\n|\w+|\|>|\.\.\.?|\*\*|[<>=!]=|[^\w\s]")
NUMBER = re.compile(r"[0-9][0-9.e+-]*")
WORD = re.compile(r"[A-Za-z_]\w*")

NUMBERS = (
    "0", "1", "2", "3", "4", "7", "10", "28", "64", "100", "1000", "4096", "65536", "1000000", "1000000000", "0.5",
    "0.0", "1.0", "1e-3", "1e-9", "1e9", "1e30", "1e308", "2147483648", "9223372036854775808", "9" * 40, "1" * 500,
)  # fmt: skip
SIGNS = (
    "(", ")", "[", "]", "{", "}", "=", ",", ":", ".", "..", "...", "|>", "+", "-", "*", "/", "@", "**", "<", "<=",
    "==", "!=", "[[", "]]", "()", "[]", "[0]", "[:]", "[::-1]", "[...]", ".shape", ".weight", ".T",
)  # fmt: skip
STRANGE = ("é", "λ", "∞", "−", "\u00a0", "\u200b", "😀", "\ufeff", "\x00", "\x1b", "\r", "\f", '"', "'", "`", "$", "?",
           ";", "\\", "#", "//", "/*", '"""', "&", "|", "%", "²", "٣", "ﬁ", "Ⅷ", "\u2028")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A source text and the options that it is compiled with."""

    text: str
    dims: dict[str, int] = field(default_factory=dict)
    network: str = "lan"
    checked: bool = False


@lru_cache(maxsize=1)
def sources() -> tuple[str, ...]:
    """The texts of all models, good and bad, of the tests, the examples and the documentation."""
    files = [path for folder in ("tests", "examples") for path in sorted((ROOT / folder).rglob("*.ppml"))]
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    fenced = [found for page in pages for found in re.findall(r"```ppml\n(.*?)```", page.read_text("utf-8"), re.S)]
    return (*(path.read_text("utf-8") for path in files), *fenced)


@lru_cache(maxsize=1)
def words() -> tuple[str, ...]:
    return (*sorted(grammar.keywords()), *FUNCTIONS, *LAYERS, "fixed", "int", "bit", "p0", "x", "same")


# -- mutations ---------------------------------------------------------------------------------------------------------


def mutated(seed: int, number: int) -> Case:
    """Source `number` of a run."""
    random = Random(f"{seed}/{number}")
    text = random.choice(sources())
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        text = random.choice(MUTATIONS)(random, text)
    dims: dict[str, int] = {}
    if random.random() < 0.2:
        dims = {random.choice(("batch", "batch", "n", "x")): random.choice((0, 1, 2, 3, 16, 1000, 10**6, 10**12))}
    return Case(text, dims, random.choice(("lan", "wan")), random.random() < 0.3)


def _pieces(text: str) -> list[str]:
    return PIECE.findall(text) or [" "]


def _at(random: Random, pieces: list[str], fits: Callable[[str], object] = str.strip) -> int:
    """The place of one of the pieces that fit; of any, where none does."""
    places = [at for at, piece in enumerate(pieces) if fits(piece)]
    return random.choice(places or range(len(pieces)))


def _edited(edit: Callable[[Random, list[str]], None]) -> Callable[[Random, str], str]:
    """A mutation of the text that is one of its pieces."""

    def mutation(random: Random, text: str) -> str:
        pieces = _pieces(text)
        edit(random, pieces)
        return "".join(pieces)

    return mutation


def _delete(random: Random, pieces: list[str]) -> None:
    at = _at(random, pieces)
    del pieces[at : at + random.choice((1, 1, 1, 2, 5))]


def _double(random: Random, pieces: list[str]) -> None:
    at = _at(random, pieces)
    pieces[at] = random.choice(("", " ")).join([pieces[at]] * random.choice((2, 2, 3, 200)))


def _swap(random: Random, pieces: list[str]) -> None:
    one, other = _at(random, pieces), _at(random, pieces)
    pieces[one], pieces[other] = pieces[other], pieces[one]


def _word(random: Random, pieces: list[str]) -> None:
    pieces[_at(random, pieces)] = random.choice(words())


def _sign(random: Random, pieces: list[str]) -> None:
    pieces.insert(_at(random, pieces), random.choice(SIGNS))


def _strange(random: Random, pieces: list[str]) -> None:
    pieces.insert(random.randrange(len(pieces) + 1), random.choice(STRANGE))


def _number(random: Random, pieces: list[str]) -> None:
    pieces[_at(random, pieces, NUMBER.fullmatch)] = random.choice(("", "", "", "-")) + random.choice(NUMBERS)


def _name(random: Random, pieces: list[str]) -> None:
    """Another word of the same text in the place of one: most such texts still parse."""
    names = [piece for piece in pieces if WORD.fullmatch(piece) and piece not in grammar.keywords()]
    pieces[_at(random, pieces, WORD.fullmatch)] = random.choice(names or ["x"])


def _function(random: Random, pieces: list[str]) -> None:
    table = tuple(LAYERS if random.random() < 0.2 else FUNCTIONS)
    pieces[_at(random, pieces, {*FUNCTIONS, *LAYERS}.__contains__)] = random.choice(table)


def _apply(random: Random, pieces: list[str]) -> None:
    """One more function behind a value."""
    pieces[_at(random, pieces, WORD.fullmatch)] += f" |> {random.choice(tuple(FUNCTIONS))}"


def _wrap(random: Random, pieces: list[str]) -> None:
    """One piece, nested deep."""
    opening, closing = random.choice((("(", ")"), ("[", "]"), ("-", ""), ("relu(", ")"), ("f(", ")"), ("not ", "")))
    depth = random.choice((1, 2, 20, 149, 151, 1000, 5000))
    at = _at(random, pieces)
    pieces[at] = opening * depth + pieces[at] + closing * (depth if random.random() < 0.8 else depth // 2)


def _chain(random: Random, pieces: list[str]) -> None:
    """One piece with a long tail."""
    tail = random.choice((".shape", "[0]", " |> relu", " + 1", " * x", " @ x", " ** 2", "()", " < 1", " and x", ", 1"))
    pieces[_at(random, pieces)] += tail * random.choice((1, 2, 20, 200, 2000))


def _noise(random: Random, pieces: list[str]) -> None:
    count = random.choice((1, 5, 50, 500, 4000))
    pieces.insert(_at(random, pieces), "".join(random.choices("()[]{}", k=count)))


def _open(random: Random, pieces: list[str]) -> None:
    pieces.insert(_at(random, pieces), random.choice(("(", "[", "{", "([", "f(", "x[")) * random.choice((10, 4000)))


def _cut(random: Random, text: str) -> str:
    return text[: random.randrange(len(text) + 1)]


def _splice(random: Random, text: str) -> str:
    other = random.choice(sources())
    return text[: random.randrange(len(text) + 1)] + other[random.randrange(len(other) + 1) :]


def _lines(random: Random, text: str) -> str:
    """A line moved, doubled or left out."""
    lines = text.split("\n")
    line = lines.pop(random.randrange(len(lines)))
    for _ in range(random.choice((0, 1, 1, 1, 2))):
        lines.insert(random.randrange(len(lines) + 1), line)
    return "\n".join(lines)


def _repeat(random: Random, text: str) -> str:
    """A few lines again and again."""
    lines = text.split("\n")
    start = random.randrange(len(lines))
    block = lines[start : start + random.choice((1, 1, 2, 5))]
    return "\n".join(lines[:start] + block * random.choice((2, 10, 100)) + lines[start + len(block) :])


def _loop(random: Random, text: str) -> str:
    """A few lines in a loop, or in loops in loops."""
    lines = text.split("\n")
    start = random.randrange(len(lines))
    end = min(start + random.choice((1, 1, 2, 5)), len(lines))
    for level in range(random.choice((1, 1, 2, 20, 200))):
        turns = random.choice(("2", "3", "10", "50000", "1000000000"))
        lines[start] = f"for i{level} in 0..{turns} {{ {lines[start]}"
        lines[end - 1] += " }"
    return "\n".join(lines)


def _one_line(random: Random, text: str) -> str:
    return text.replace("\n", " ")


MUTATIONS: tuple[Callable[[Random, str], str], ...] = (
    *map(
        _edited,
        (_delete, _double, _swap, _word, _sign, _strange, _wrap, _chain, _noise, _open)
        + 3 * (_number, _name, _function, _apply),  # most of these pass the parser, and many the types
    ),
    _cut,
    _splice,
    _lines,
    _repeat,
    _loop,
    _one_line,
)  # fmt: skip


# -- the judgement -----------------------------------------------------------------------------------------------------


def finding(case: Case) -> str | None:
    """What is wrong with the compiler's answer, or None."""
    try:
        warnings = _compiled(case)
    except mpc.CompileError as refused:
        diagnostics = refused.diagnostics
        if not diagnostics:
            return f"an error without a place: {refused}"
        return next(filter(None, (_misplaced(each, case.text) for each in diagnostics)), None)
    except mpc.InputError as refused:
        return f"an input error: {refused}"
    except BaseException as error:
        return longrun.crash(error)
    return next(filter(None, (_misplaced(each, case.text) for each in warnings)), None)


def _compiled(case: Case) -> tuple[Diagnostic, ...]:
    program = mpc.compile(text=case.text, dims=case.dims, network=case.network, checked=case.checked)
    return program.warnings


def _misplaced(diagnostic: Diagnostic, text: str) -> str | None:
    """What is wrong with the place of a diagnostic."""
    lines = text.split("\n")
    if not diagnostic.message.strip() or diagnostic.file != "<text>":
        return f"a diagnostic without a message or file: {diagnostic}"
    if not 1 <= diagnostic.line <= len(lines) or diagnostic.end_line < diagnostic.line:
        return f"a diagnostic outside of the text: {diagnostic}"
    if not 1 <= diagnostic.column <= len(lines[diagnostic.line - 1]) + 1:
        return f"a diagnostic outside of its line: {diagnostic}"
    if any(not 1 <= span.line <= len(lines) for span, _ in diagnostic.notes):
        return f"a note outside of the text: {diagnostic}"
    return None


def shrunk(case: Case, wrong: Callable[[Case], bool], tries: int = 400) -> Case:
    """A smaller text that is wrong in the same way: lines are left out, then pieces, as long as `tries` last."""
    for split in (re.compile(r"[^\n]*\n?").findall, _pieces):
        pieces = [piece for piece in split(case.text) if piece]
        size = max(len(pieces) // 2, 1)
        while size and tries:
            at = 0
            while at < len(pieces) and tries:
                tries -= 1
                smaller = Case("".join(pieces[:at] + pieces[at + size :]), case.dims, case.network, case.checked)
                if wrong(smaller):
                    del pieces[at : at + size]
                else:
                    at += size
            size //= 2
        case = Case("".join(pieces), case.dims, case.network, case.checked)
    return case


# -- the long run ------------------------------------------------------------------------------------------------------


def judged(seed: int, number: int) -> str | None:
    return finding(mutated(seed, number))


def _printed(seed: int, number: int) -> None:
    """One source, and a smaller one that is answered as wrongly."""
    case = mutated(seed, number)
    print(case.text, f"\n-- {case.dims}, {case.network}, checked={case.checked}")
    found = finding(case)
    if found is not None:
        kind = found.split(":")[0]
        print(shrunk(case, lambda smaller: (finding(smaller) or "").startswith(kind)).text)


if __name__ == "__main__":
    sys.exit(longrun.main(__doc__, judged, "sources", 20000, _printed))
