"""What `mpcc explain --html` writes: one page with all that `mpcc explain` says, and the source beside it.

The page needs no network and has no script. Whatever comes from the model is escaped, and a policy in the page forbids
scripts besides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from compiler.graph.interval import Interval
from dsl import grammar
from mpc_runtime.analysis.units import human
from mpc_runtime.errors import amount, number
from mpc_runtime.procedure import RUN, SETUP, TRAIN_STEP

if TYPE_CHECKING:
    from compiler.cli.bounds import Bound
    from mpc_runtime.analysis.cost import Cost, OpCost
    from mpc_runtime.program import Program

CALLED = {SETUP: "setup, once a session", RUN: "one run", TRAIN_STEP: "one step of training"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
WIDTHS = '<p class="soft">Ring: bits of what a value is computed in. Compares: bits of its comparisons.</p>'
CHECKS = re.compile(r"(?:^|output )`(?:\w+ )?checked: |^limit \d+ of ")  # no name of an author has a colon
STYLE = """
:root { color-scheme: light dark; --text: #1c2430; --soft: #5b6675; --line: #dfe4ea; --back: #fff; --panel: #f6f8fa;
  --mark: #fff3c4; --online: #3b6fb6; --offline: #9cbbe2; --word: #7a3e9d; --note: #5f7a4a; }
@media (prefers-color-scheme: dark) { :root { --text: #dde3ea; --soft: #97a3b2; --line: #313a45; --back: #14181d;
  --panel: #1b2128; --mark: #4a4018; --online: #7aa7e6; --offline: #3d5f8f; --word: #c79be0; --note: #9dbb84; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 104rem; padding: 1.5rem; color: var(--text); background: var(--back);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; } h2 { margin: 2rem 0 .5rem; font-size: 1.15rem; }
p { margin: .3rem 0; } .soft, th, dt, figcaption { color: var(--soft); } a { color: inherit; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .86em; }
code { overflow-wrap: break-word; } .n { font-variant-numeric: tabular-nums; } summary { cursor: pointer; }
main { display: grid; gap: 0 2rem; grid-template-columns: minmax(0, 1fr); }
.facts { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; padding: 0; }
.facts div { padding: .5rem .9rem; border: 1px solid var(--line); border-radius: 6px; background: var(--panel); }
.facts dd { margin: 0; font-size: 1.05rem; font-variant-numeric: tabular-nums; }
.source { margin: 0; border: 1px solid var(--line); border-radius: 6px; background: var(--panel); overflow: auto; }
.source table { width: max-content; min-width: 100%; } .source td { border: 0; padding: 0 .6rem; }
.source td:first-child { width: 1%; color: var(--soft); font-size: .86em; user-select: none; }
.source td:nth-child(2) { width: 4rem; padding: 0; } .source .bar { min-width: 4rem; }
.source pre { margin: 0; line-height: 1.6; } .source tr:target, tr:target { background: var(--mark); }
.word { color: var(--word); } .note { color: var(--note); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 500; } td, th { padding: .2rem .7rem .2rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); } td.n, th.n { text-align: right; white-space: nowrap; }
th[scope=rowgroup] { padding-top: .9rem; color: var(--text); font-weight: 600; } tr.sum td { font-weight: 600; }
.bar { display: flex; height: .55rem; min-width: 4.5rem; margin-top: .45rem; border-radius: 2px; overflow: hidden; }
.bar i { background: var(--online); } .bar i + i { background: var(--offline); }
ul { margin: .3rem 0; padding-left: 1.2rem; } dl.words { display: grid; grid-template-columns: max-content 1fr;
  gap: .1rem 1rem; margin: .6rem 0; } dl.words dd { margin: 0; }
@media (min-width: 78rem) { main { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
  .left { position: sticky; top: 1rem; align-self: start; } .source { max-height: calc(100vh - 5rem); } }
@media print { .source { max-height: none; } .left { position: static; } }
"""


def page(program: Program, ranges: Sequence[Bound], checking: Mapping[str, Any] | None) -> str:
    """The text of the page. ranges, checking: as `mpcc explain` prints them."""
    plan, cost = program.plan, program.cost
    sizes = ", ".join(f"{name} = {size}" for name, size in plan.dims)
    facts = "; ".join(each for each in (f"roles {', '.join(plan.roles)}", sizes) if each)
    parts = [_cost(cost, bool(plan.source)), _ranges(ranges), _checking(checking)]
    text = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(plan.name)}: cost and privacy</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(plan.name)}</h1>
<p class="soft">{escape(facts)}</p>
<p class="soft">plan <code>{escape(plan.hash)}</code></p>
{_facts(cost)}
</header>
<section>
<h2>Revealed</h2>
{_revealed(program.leakage)}
</section>
<main>
{_source(plan.source or "", cost)}
<div>
{_joined(parts)}
</div>
</main>
</body>
</html>
"""
    return "\n".join(line.rstrip() for line in text.split("\n") if line.strip()) + "\n"


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(parts)


def _revealed(sentences: Sequence[str]) -> str:
    """All that is revealed; what the many checks of training reveal is one click away."""
    checks = [each for each in sentences if CHECKS.search(each)]
    shown = _list(each for each in sentences if each not in checks)
    if not checks:
        return shown
    told = f"and {amount(len(checks), 'sentence')} on bits that say whether values and norms stay within their limits"
    return f"{shown}\n<details>\n<summary>{told}</summary>\n{_list(checks)}\n</details>"


def _list(sentences: Iterable[str]) -> str:
    return "<ul>\n" + _joined(f"<li>{_quoted(each)}</li>" for each in sentences) + "\n</ul>"


def _quoted(sentence: str) -> str:
    """With what stands in backquotes as code."""
    pieces = escape(sentence).split("`")
    if len(pieces) % 2 == 0:
        return escape(sentence)
    return "".join(f"<code>{each}</code>" if place % 2 else each for place, each in enumerate(pieces))


def _facts(cost: Cost) -> str:
    rows = [("one run", _amounts(cost.rounds, cost.online_bytes, cost.offline_bytes))]
    if cost.train_rounds:
        rows.append(
            (CALLED[TRAIN_STEP], _amounts(cost.train_rounds, cost.train_online_bytes, cost.train_offline_bytes))
        )
    rows.append((CALLED[SETUP], _amounts(cost.setup_rounds, cost.setup_online_bytes, cost.setup_offline_bytes)))
    rows.append(("roles send and get", human(cost.client_bytes)))
    rows.append(("memory of a party", human(cost.peak_memory)))
    cells = _joined(f"<div><dt>{escape(what)}</dt><dd>{escape(much)}</dd></div>" for what, much in rows)
    return f'<dl class="facts">\n{cells}\n</dl>'


def _amounts(rounds: int, online: int, offline: int) -> str:
    return f"{rounds} round{'s' * (rounds != 1)}, {human(online)} online, {human(offline)} offline"


# Source -------------------------------------------------------------------------------------------------------------


def _source(source: str, cost: Cost) -> str:
    """The lines, and beside each how much of a run, or else of a step of training, comes from it."""
    if not source:
        return '<p class="soft">The plan was stored without its source.</p>'
    of = TRAIN_STEP if cost.train_rounds else RUN
    online, offline = Counter[int](), Counter[int]()
    for op in cost.per_op:
        if op.procedure == of:
            online[op.line] += op.online_bytes
            offline[op.line] += op.offline_bytes
    most = max((online[line] + offline[line] for line in online), default=0)
    rows = []
    for place, shown in enumerate(_coloured(source), 1):
        told = f"{human(online[place])} online, {human(offline[place])} offline"
        bar = _bar(online[place], offline[place], most, told)
        rows.append(f'<tr id="L{place}"><td class="n">{place}</td><td>{bar}</td><td><pre>{shown}</pre></td></tr>')
    return f"""<div class="left">
<h2>Source</h2>
<figure class="source">
<table>
{_joined(rows)}
</table>
</figure>
<p class="soft">Bars: bytes of {CALLED[of]} that a line takes, online (dark) and offline (light).</p>
</div>"""


def _coloured(source: str) -> Iterator[str]:
    """The lines with keywords and comments marked."""
    words = grammar.keywords()
    text = source.replace("\ufeff", " ", 1) if source.startswith("\ufeff") else source
    marked, end = [], 0
    for token in grammar.tokens(text):
        start, after = token.start_pos or 0, token.end_pos or 0
        marked.append(_commented(text[end:start]))
        shown = escape(text[start:after])
        marked.append(f'<span class="word">{shown}</span>' if str(token) in words else shown)
        end = after
    marked.append(_commented(text[end:]))
    lines = "".join(marked).split("\n")
    yield from (lines[:-1] if lines and not lines[-1].strip() else lines)


def _commented(gap: str) -> str:
    """What is between two tokens: blanks and comments."""
    lines = []
    for line in gap.split("\n"):
        blanks, sign, comment = line.partition("#")
        lines.append(blanks + (f'<span class="note">{escape(sign + comment)}</span>' if sign else ""))
    return "\n".join(lines)


def _bar(online: int, offline: int, most: int, told: str) -> str:
    if not online + offline:
        return ""
    widths = [100 * each / most for each in (online, offline)]
    inside = "".join(f'<i style="width:{width:.1f}%"></i>' for width in widths)
    return f'<span class="bar" title="{escape(told)}">{inside}</span>'


def _line(line: int) -> str:
    return f'<a href="#L{line}">{line}</a>' if line else ""


# Tables -------------------------------------------------------------------------------------------------------------


def _table(heads: Sequence[tuple[str, bool]], rows: Iterable[str]) -> str:
    """heads: each with whether it is above numbers."""
    cells = "".join(f'<th scope="col"{" class=n" * right}>{escape(head)}</th>' for head, right in heads)
    body = f"<thead><tr>{cells}</tr></thead>\n<tbody>\n{_joined(rows)}\n</tbody>"
    return f'<div class="scroll">\n<table>\n{body}\n</table>\n</div>'


def _cost(cost: Cost, linked: bool) -> str:
    rows: list[str] = []
    sums = {
        RUN: (cost.rounds, cost.online_bytes, cost.offline_bytes),
        SETUP: (cost.setup_rounds, cost.setup_online_bytes, cost.setup_offline_bytes),
        TRAIN_STEP: (cost.train_rounds, cost.train_online_bytes, cost.train_offline_bytes),
    }
    told = [op for op in cost.per_op if op.online_bytes or op.offline_bytes]
    for procedure in dict.fromkeys(op.procedure for op in told):
        ops = [op for op in told if op.procedure == procedure]
        rows.append(f'<tr><th scope="rowgroup" colspan="7">{escape(CALLED.get(procedure, procedure))}</th></tr>')
        most = max(op.online_bytes + op.offline_bytes for op in ops)
        rows += [_op(op, most, linked) for op in ops]
        if procedure in sums:
            rounds, *sizes = sums[procedure]
            amounts = "".join(f'<td class="n">{escape(each)}</td>' for each in (str(rounds), *map(human, sizes)))
            rows.append(f'<tr class="sum"><td></td><td>together</td>{amounts}<td></td><td></td></tr>')
    heads = [("line", True), ("op", False), ("rounds", True), ("online", True), ("offline", True), ("", False)]
    named = _joined(f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>" for name, what in cost.protocols.items())
    words = f'<dl class="words">\n{named}\n</dl>' if named else ""
    return f"<h2>Cost</h2>\n{_table([*heads, ('protocols', False)], rows)}\n{words}"


def _op(op: OpCost, most: int, linked: bool) -> str:
    part = f' <span class="soft">({escape(op.part)})</span>' if op.part else ""
    bar = _bar(op.online_bytes, op.offline_bytes, most, "")
    amounts = (str(op.rounds), human(op.online_bytes), human(op.offline_bytes))
    cells = "".join(f'<td class="n">{escape(each)}</td>' for each in amounts)
    line = _line(op.line) if linked else str(op.line or "")
    return (
        f'<tr><td class="n">{line}</td><td><code>{escape(op.label)}</code>{part}</td>{cells}<td>{bar}</td>'
        f"<td>{escape(op.protocol)}</td></tr>"
    )


def _ranges(ranges: Sequence[Bound]) -> str:
    if not ranges:
        return ""
    rows = []
    for each in ranges:
        saving = ""
        if each.tighter is not None and each.saving is not None:
            lo, hi = map(number, each.tighter)
            promise = f"promise [{lo}, {hi}] here: {100 * each.saving:.0f} % fewer bytes"
            saving = f'<br><span class="soft">{escape(promise)}</span>'
        rows.append(
            f'<tr><td class="n">{_line(each.line)}</td><td><code>{escape(each.value)}</code></td>'
            f'<td class="n">{escape(str(Interval(each.lo, each.hi)))}</td><td>{escape(each.known)}{saving}</td>'
            f'<td class="n">{each.ring or ""}</td><td class="n">{each.compared or ""}</td></tr>'
        )
    heads = [("line", True), ("value", False), ("range", True), ("how it is known", False)]
    return f"<h2>Ranges</h2>\n{_table([*heads, ('ring', True), ('compares', True)], rows)}\n{WIDTHS}"


def _checking(checking: Mapping[str, Any] | None) -> str:
    if not checking:
        return ""
    title = "<h2>With <code>--checked</code></h2>"
    if "checks" not in checking:
        return f"{title}\n{_list(f'refused: {each}' for each in checking['refused'])}"
    rounds, *sizes = (checking[key] for key in ("rounds", "online_bytes", "offline_bytes"))
    more = ", ".join(
        f"{'-' if n < 0 else '+'}{human(abs(n))} {what}" for n, what in zip(sizes, ("online", "offline"), strict=True)
    )
    told = f"{amount(rounds, 'round', sign='+')}, {more} a run; each run says whether these were kept:"
    return f"{title}\n<p>{escape(told)}</p>\n{_list(checking['checks'])}"
