"""The leakage manifest: what is revealed to whom, read off the plan's instructions, so that it can omit nothing."""

from __future__ import annotations

from mpc_runtime.gates import Input, Reveal, Select, Truncate
from mpc_runtime.plan import Plan

DITHER = (
    "values are rounded with public dither: who receives an output and works with a party can narrow its last bit down"
)


def manifest(plan: Plan) -> tuple[str, ...]:
    """One sentence a revelation, in the order of the plan."""
    lines = []
    feeds = {feed.name: feed for feed in plan.feeds}
    rounded = False
    for procedure in plan.procedures:
        for op in procedure.ops:
            gate = op.gate
            if isinstance(gate, Input):
                feed = feeds[gate.feed]
                what = feed.source or feed.name
                if gate.public:
                    lines.append(f"`{what}` of {feed.role} is public: p0 and p1 see it")
            elif isinstance(gate, Reveal):
                roles = " and ".join(gate.roles)
                lines.append(f"output `{gate.result_name}` is revealed to {roles}")
            elif isinstance(gate, (Truncate, Select)) and gate.shift:
                rounded = True
    if rounded:
        lines.append(DITHER)
    lines.append("p0, p1 and the dealer know this plan: shapes, ranges, constants and the order of the ops")
    return tuple(lines)
