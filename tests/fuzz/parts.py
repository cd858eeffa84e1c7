"""A part of a long run: some programs with one seed, judged in a process of its own."""

from __future__ import annotations

import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, seed, settings

from tests.fuzz.judge import Finding, check, check_launched
from tests.fuzz.programs import Case, cases


@dataclass
class Report:
    """What a part did: programs and options seen, and its finding: kind and script."""

    seed: int
    launched: bool
    counts: Counter[str] = field(default_factory=Counter)
    finding: tuple[str, str] | None = None


def run_part(number: int, programs: int, launched: bool) -> Report:
    """One part, in a process of its own. An error that is no Finding is a fault of the generator, and one too."""
    report = Report(number, launched)
    judge: Callable[[Case], None] = check_launched if launched else check

    @seed(number)
    @settings(
        max_examples=programs,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def judged(case: Case) -> None:
        if report.counts["programs"] < programs:  # what follows makes a finding small
            report.counts.update(seen(case))
        judge(case)

    try:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            judged()
    except Finding as finding:
        report.finding = finding.kind, f'"""{finding.kind}: {finding.message}"""\n\n{finding.case}\n'
    except Exception as e:
        report.finding = f"generator: {type(e).__name__}", f'"""\n{traceback.format_exc()}"""\n'
    return report


def seen(case: Case) -> Iterator[str]:
    yield "programs"
    yield case.network
    yield f"bits={case.format.bits}"
    if case.checked:
        yield "checked"
    if case.in_memory:
        yield "in memory"
