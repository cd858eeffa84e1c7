"""The procedures that read the trained parameters and leave them as they are: what they compute, and tell.

A step, which changes them, is `step.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.graph import BATCH, METRIC, Graph, Output, Precision, Training, Value, mark
from compiler.training.limits import Guards, Orientation, Remembered, verdict, with_verdict
from compiler.training.metrics import Added, of_rows
from compiler.training.modes import speaker
from compiler.training.parts import Trained, combined, moved, present, written_out
from mpc_runtime.procedure import BROKEN, CHECK, EVALUATE, FINISH, METRICS, RUN

__all__ = ["Reading"]

WEIGHTS = "weights."
"""Before the keys of parameters, in the names of what `finish` releases: no output of an author has a dot."""


@dataclass(frozen=True)
class Reading:
    """The procedures that read the parameters and leave them. remembered: what a step leaves of its checks."""

    training: Training
    changed: list[Trained]
    used: Mapping[Value, Orientation]
    remembered: Remembered | None
    precision: Precision

    def run(self, graph: Graph) -> list[Output]:
        """What a batch gives."""
        guards = Guards(self.training.limits, self.precision)
        states = self._parameters(guards, RUN)
        run = moved(graph, RUN, states)
        if any(each.statistic for each in self.changed):
            keys = {states[each.leaf]: each.state.key for each in self.changed}
            values = guards.factors([output.value for output in run.outputs], keys)
            outputs = [replace(output, value=value) for output, value in zip(run.outputs, values, strict=True)]
            run = replace(run, outputs=tuple(outputs))
        roles = tuple(dict.fromkeys(role for output in run.outputs for role in output.roles))
        return self._told(run.outputs, guards, roles, RUN)

    def evaluate(self, graph: Graph) -> tuple[list[Output], list[Added]]:
        """What a batch of validation rows adds to metrics, and what is told of the checks, to all who make steps."""
        frac, training = graph.precision.frac, self.training
        sums = of_rows(training, frac, graph.dims.get(BATCH, 1))
        if not sums:
            return [], []
        forward = combined(graph, training.loss, [each.value for each in sums])
        guards = Guards(training.limits, graph.precision)
        states = self._parameters(guards, EVALUATE)
        keys = {states[each.leaf]: each.state.key for each in self.changed}
        outputs = moved(forward, EVALUATE, states).outputs
        _, *values = guards.factors([output.value for output in outputs], keys)
        sums = [replace(each, value=written_out(value)) for each, value in zip(sums, values, strict=True)]
        left = [each.left(speaker(training), EVALUATE, graph.precision) for each in sums]
        if guards.checks and self.remembered is not None:
            found = verdict(self.remembered, guards.checks, len(guards.checks), EVALUATE)
            left += with_verdict([], found, present(training, training.outputs), EVALUATE)
            left.append(Output(BROKEN, found.state, (), stage=EVALUATE, keeps=self.remembered.broken))
        mark([output.value for output in left], METRIC)
        return left, sums

    def metrics(self, graph: Graph, sums: Sequence[Added]) -> list[Output]:
        """The sums of an epoch, each to those who learn it."""
        roles = tuple(dict.fromkeys(role for measure in self.training.metrics for role in measure.roles))
        told = [each.told(graph.precision) for each in sums]
        outputs = self._told(told, Guards(self.training.limits, self.precision), roles, METRICS)
        mark([output.value for output in outputs], METRIC)
        return outputs

    def check(self, told: Sequence[Output]) -> list[Output]:
        """What checks have found so far, and find of the parameters as they are now, to all who make steps: training
        can go on from a checkpoint of them. told: what a step tells."""
        if self.remembered is None:
            return []
        guards = Guards(self.training.limits, self.precision)
        self._parameters(guards, CHECK)
        found = verdict(self.remembered, guards.checks, len(guards.checks), CHECK)
        return with_verdict([], found, present(self.training, told), CHECK)

    def finish(self) -> list[Output]:
        """The parameters, to those who learn them."""
        guards, roles = Guards(self.training.limits, self.precision), self.training.weights_to
        if not roles:
            return []
        parameters = self._parameters(guards, FINISH)
        released = [
            Output(WEIGHTS + each.state.key, parameters[each.leaf], roles, each.leaf.span, stage=FINISH)
            for each in self.changed
        ]
        return self._told(released, guards, roles, FINISH)

    def _parameters(self, guards: Guards, stage: str) -> dict[Value, Value]:
        return {each.leaf: each.limited(guards, stage, self.used.get(each.leaf)) for each in self.changed}

    def _told(self, outputs: Sequence[Output], guards: Guards, roles: tuple[str, ...], stage: str) -> list[Output]:
        if self.remembered is None or not outputs:
            return list(outputs)
        return with_verdict(outputs, verdict(self.remembered, guards.checks, len(guards.checks), stage), roles, stage)
