"""All machines of a plan inside one process: dealer first, then both parties on two threads over the in-memory channel.
The plan is saved and loaded, as servers have it.

    run = run_plan(plan, inputs, params)
    run.results["y"], run.stats["run"], run.dealt["setup"]

Keys are fixed, so that a run can be repeated.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpc_runtime.encoding.fixed_point import check
from mpc_runtime.encoding.sharing import gather, rebuild, split
from mpc_runtime.execution.dealer import DealerExecutor
from mpc_runtime.execution.party import Counters, ExecutionKeys, PartyExecutor
from mpc_runtime.plan import Plan
from mpc_runtime.program import prepare_feed
from mpc_runtime.roles.client import encode_feeds, tensors_of
from mpc_runtime.transport.channel import Source
from tests.loaded import loaded
from tests.memory_channel import MemoryChannel, channel_pair, material_pipe

Array = np.ndarray
KEYS = bytes(range(16)), bytes(range(16, 32))
PAIR = b"pairpairpairpair"


@dataclass
class Run:
    """What a run in memory left: results, both parties' counts, the dealer's bytes, the executors."""

    results: dict[str, Array]
    parties: list[PartyExecutor]
    stats: dict[str, list[Counters]] = field(default_factory=dict)
    dealt: dict[str, int] = field(default_factory=dict)


Feeds = dict[str, dict[str, Array]]
"""role -> feed name -> ring elements."""


def encoded(plan: Plan, stage: str, values: Mapping[str, Any], params: Mapping[str, Any]) -> Feeds:
    """What every role shares at a stage."""
    out = {}
    for role in plan.roles:
        tensors = {}
        for s, given in (("setup", params), ("run", values)):
            for t in tensors_of(plan, role, s):
                if t.name in given:
                    array = np.asarray(given[t.name])
                    if t.stacked:
                        members = next(each.members for each in plan.array_roles if role in each.members)
                        array = array[members.index(role)]
                    tensors[t.name] = check(t.name, array, t.kind, t.shape, t.lo, t.hi, 16)
        feeds, problems = encode_feeds(plan, role, stage, tensors, prepare_feed)
        assert not problems, problems
        out[role] = feeds
    return out


def run_plan(
    plan: Plan,
    inputs: Mapping[str, Any],
    params: Mapping[str, Any] | None = None,
    *,
    runs: int = 1,
    preprocess: bool = False,
    once: bool = False,
) -> Run:
    """One setup and then runs, with fixed keys; raises what either party raised.

    preprocess: let the parties work ahead, as a session does. once: as of the executors.
    """
    plan = loaded(plan)
    channels = channel_pair()
    dealer = DealerExecutor(plan, once=once)
    parties = [PartyExecutor(plan, i, channels[i], once=once) for i in (0, 1)]
    done = Run({}, parties)
    for index, stage in enumerate(("setup", *["run"] * runs)):
        keys = bytes([index]) + KEYS[0][1:], bytes([index]) + KEYS[1][1:]
        pipes = [material_pipe() for _ in (0, 1)]
        done.dealt[stage] = dealer.execute(stage, keys, (pipes[0][0], pipes[1][0]))
        shares: list[dict[str, Array]] = [{}, {}]
        for role, feeds in encoded(plan, stage, inputs, params or {}).items():
            declared = plan.feeds_of(role, stage)
            for i, payload in enumerate(split(declared, feeds)):
                shares[i].update(gather(declared, i, payload, role))
        pair = bytes([index]) + PAIR[1:]
        ahead = preprocess and plan.procedure(stage).ahead
        outputs = both(parties, channels, stage, keys, (pipes[0][1], pipes[1][1]), shares, pair, ahead)
        done.stats[stage] = [p.last for p in parties]
        if stage == "run":
            for result in plan.results:
                for role in result.roles:
                    done.results[result.name] = rebuild(
                        result, outputs[0][result.name, role], outputs[1][result.name, role]
                    )
    return done


def both(
    parties: Sequence[PartyExecutor],
    channels: Sequence[MemoryChannel],
    stage: str,
    keys: Sequence[bytes],
    material: Sequence[Source],
    shares: Sequence[dict[str, Array]],
    pair: bytes = PAIR,
    preprocess: bool = False,
) -> list[dict[tuple[str, str], Array]]:
    """An execution at both parties, each on its thread: what they send to the roles."""
    outputs: list[dict[tuple[str, str], Array]] = [{}, {}]
    errors: list[BaseException] = []

    def work(i: int) -> None:
        execution = ExecutionKeys(keys[i], pair)
        try:
            if preprocess:
                parties[i].preprocess(stage, execution, material[i])
            outputs[i] = parties[i].execute(stage, execution, material[i], shares[i])
        except BaseException as e:
            errors.append(e)
            channels[i].close(str(e))

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
    return outputs
