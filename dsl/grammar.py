"""The parser's tables: lark's, made from `ppml.lark`, and a stored copy of them that loads at once.

Making the tables takes lark a quarter of a second, at every start of the compiler; reading them back, a few
milliseconds. `tables.json` is that copy. It names the grammar and the lark version it was made with: where either
differs, the tables are made afresh, so a stale copy costs time and never a wrong parse. After a change of the grammar:

    python -m dsl.grammar
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

__all__ = ["GRAMMAR", "TABLES", "Automaton", "fresh", "keywords", "parser", "stored", "tokens", "write"]

GRAMMAR = Path(__file__).with_name("ppml.lark")
TABLES = Path(__file__).with_name("tables.json")


@lru_cache(maxsize=1)
def parser() -> lark.Lark:
    """The parser, from the stored tables where they fit."""
    return stored() or fresh()


def fresh(strict: bool = False) -> lark.Lark:
    """The parser made from the grammar; `strict` refuses every conflict and collision (and needs `interegular`)."""
    return lark.Lark(
        GRAMMAR.read_text(encoding="utf-8"),
        parser="lalr",
        lexer="basic",
        maybe_placeholders=True,
        propagate_positions=True,
        strict=strict,
    )


def stored() -> lark.Lark | None:
    """The parser read from `tables.json`, or None where that was made from another grammar or by another lark."""
    try:
        tables = json.loads(TABLES.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if tables["made"] != _made():
        return None
    data, machine = tables["data"], tables["data"]["parser"]["parser"]
    machine["tokens"] = dict(enumerate(machine["tokens"]))
    machine["states"] = {number: _actions(row) for number, row in enumerate(machine["states"])}
    return cast(lark.Lark, lark.Lark._load_from_dict(data, dict(enumerate(tables["memo"]))))  # type: ignore[no-untyped-call]


class Automaton:
    """The parser without what it builds: which token types the grammar takes, one after the other. Cheap to copy."""

    def __init__(self, stack: list[int] | None = None) -> None:
        parsing: Any = parser().parse_interactive().parser_state.parse_conf
        self._states, self._end = parsing.states, parsing.end_state
        self._stack: list[int] = [parsing.start_state] if stack is None else stack

    def copy(self) -> Automaton:
        return Automaton(self._stack.copy())

    @property
    def depth(self) -> int:
        """How many symbols wait for what follows."""
        return len(self._stack)

    def take(self, kind: str) -> bool:
        """Go on with a token of this type; False where the grammar cannot, and then nothing has changed.

        `$END` is taken where a text may end, and changes nothing.
        """
        stack, states = self._stack, self._states
        kept, fresh = len(stack), [stack[-1]]  # the symbols of `stack` still waiting, and the states above them
        while True:
            action = states[fresh[-1]].get(kind)
            if action is None:
                return False
            target = action[1]
            if isinstance(target, int):
                stack[kept - 1 :] = [*fresh, target]
                return True
            size = len(target.expansion)
            if size >= len(fresh):
                kept -= size - len(fresh) + 1
                fresh = [stack[kept - 1]]
            elif size:
                del fresh[-size:]
            fresh.append(states[fresh[-1]][target.origin.name][1])
            if kind == "$END" and fresh[-1] == self._end:
                return True

    def takes(self, kind: str) -> bool:
        """Whether `take` would go on, which is not done."""
        return kind in self._states[self._stack[-1]] and self.copy().take(kind)

    def accepts(self) -> frozenset[str]:
        """The types that can be taken."""
        return frozenset(kind for kind in self._states[self._stack[-1]] if kind.isupper() and self.takes(kind))


def write() -> None:
    """Make the tables and store them."""
    data, memo = fresh().memo_serialize([TerminalDef, Rule])
    machine = data["parser"]["parser"]
    machine["tokens"] = [machine["tokens"][number] for number in range(len(machine["tokens"]))]
    machine["states"] = [_row(machine["states"][number]) for number in range(len(machine["states"]))]
    tables = {"made": _made(), "data": data, "memo": [memo[number] for number in range(len(memo))]}
    TABLES.write_text(json.dumps(tables, separators=(",", ":")) + "\n", encoding="utf-8")


def tokens(text: str) -> list[lark.Token]:
    """The tokens of a text, without comments and blanks; raises `lark.UnexpectedCharacters` at the first stray one."""
    lexing = parser().parse_interactive(text)
    return list(lexing.lexer_thread.lex(lexing.parser_state))  # type: ignore[no-untyped-call]


@lru_cache(maxsize=1)
def keywords() -> frozenset[str]:
    """The reserved words, as the grammar spells them."""
    patterns = (terminal.pattern.value for terminal in parser().terminals)
    return frozenset(each for each in patterns if each.isalpha())


def _made() -> dict[str, str]:
    text = GRAMMAR.read_text(encoding="utf-8")
    return {"grammar": hashlib.sha256(text.encode()).hexdigest(), "lark": lark.__version__}


def _row(actions: dict[int, tuple[int, Any]]) -> list[int]:
    """One state of the machine, flat: symbol, shift or reduce, where to or which rule, symbol, …"""
    row: list[int] = []
    for symbol, (kind, target) in actions.items():
        row += (symbol, kind, target["@"] if kind else target)
    return row


def _actions(row: list[int]) -> dict[int, tuple[int, Any]]:
    triples = zip(row[0::3], row[1::3], row[2::3], strict=True)
    return {symbol: (kind, {"@": target} if kind else target) for symbol, kind, target in triples}


if __name__ == "__main__":
    write()
