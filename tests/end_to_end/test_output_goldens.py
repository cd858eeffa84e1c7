"""What every model gives under fixed keys, bit for bit, and what crosses the wire for it, beside a golden file.

Whoever changes a protocol changes this file and reads why; whoever only moves things must leave it alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256

from mpc_runtime import compile
from tests.machines import Run, run_plan
from tests.models_in_memory import all_models
from tests.zoo import data


def test_outputs_rounds_and_bytes_are_those_of_the_golden_file(golden: Callable[[str, str], None]) -> None:
    found = {}
    for name, text in all_models():
        plan = compile(text=text).plan
        found[name] = summary(run_plan(plan, *data(plan, 0)))
    lines = [f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(what)}" for name, what in found.items()]
    golden("outputs.json", "{\n" + ",\n".join(lines) + "\n}\n")


def summary(run: Run) -> dict[str, object]:
    """The digest of every result, and by procedure its rounds, online bytes and offline bytes."""
    digests = {name: sha256(repr((a.dtype.str, a.shape)).encode() + a.tobytes()) for name, a in run.results.items()}
    counts = {
        name: [parties[0].rounds, sum(p.sent_bytes for p in parties), run.dealt[name]]
        for name, parties in run.stats.items()
    }
    return {"results": {name: digest.hexdigest() for name, digest in digests.items()}, **counts}
