"""Lines of a log: one an event, for people and for programs, whatever is in it."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import re
import typing

import pytest

from mpc_runtime.operation import events
from mpc_runtime.operation.events import Aborted, Event, Place
from mpc_runtime.operation.logs import FORMATS, LEVELS, Log, logger_to
from tests.mpc_runtime.operation.watching import EVENTS, PLACE, RUN, SETUP

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def written(format: str, *told: Event, level: str = "debug", place: Place = PLACE) -> list[str]:
    stream = io.StringIO()
    log = Log(logger_to(stream, format, level))
    for event in told:
        log(place, event)
    return stream.getvalue().splitlines()


def test_every_line_of_text_says_when_where_and_what() -> None:
    lines = written("text", *EVENTS)
    assert len(lines) == len(EVENTS)
    for line, event in zip(lines, EVENTS, strict=True):
        level = logging.getLevelName(event.level)
        assert re.match(rf"{TIME} {level} p0 {re.escape(str(event))} \| plan=digits:0123456789ab session=5e55", line)
    assert " procedure=run run=7 " in lines[EVENTS.index(RUN)]
    assert "op=line 7: relu" in lines[-2]


def test_every_line_of_json_is_an_object_with_the_same_fields() -> None:
    for line, event in zip(written("json", *EVENTS), EVENTS, strict=True):
        data = json.loads(line)
        assert re.fullmatch(TIME, data.pop("time"))
        assert data.pop("level") == logging.getLevelName(event.level).lower()
        where = {"machine": "p0", "plan": "digits:0123456789ab", "session": "5e55"}
        assert data == {**where, "event": event.kind, "message": str(event), **event.facts()}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("evil", ["a\nERROR p1 is gone", "\x1b[2J", "\r\u2028\u2029\x85", '{"level": 0}\n'])
def test_a_line_stays_a_line_whatever_another_machine_says(format: str, evil: str) -> None:
    lines = written(format, Aborted("p1", evil, evil))
    assert len(lines) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lines[0])


@pytest.mark.parametrize("level", LEVELS)
def test_levels_leave_out_what_is_less_important(level: str) -> None:
    least = getattr(logging, level.upper())
    assert len(written("json", *EVENTS, level=level)) == sum(event.level >= least for event in EVENTS)


def test_a_run_is_for_debugging_and_a_setup_is_not() -> None:
    assert written("text", RUN, level="info") == []
    assert len(written("text", SETUP, level="info")) == 1


def test_no_other_logger_is_touched() -> None:
    before = list(logging.getLogger().handlers), dict(logging.root.manager.loggerDict)
    written("text", *EVENTS)
    assert (list(logging.getLogger().handlers), dict(logging.root.manager.loggerDict)) == before


def test_an_event_has_room_for_numbers_and_words_only() -> None:
    """So that no array, key or payload can be told to anybody."""
    told = {type(event) for event in EVENTS}
    kinds = [kind for kind in vars(events).values() if dataclasses.is_dataclass(kind)]
    assert told == {kind for kind in kinds if kind is not Place}
    for kind in kinds:
        hints = typing.get_type_hints(kind)
        assert {hints[field.name] for field in dataclasses.fields(kind)} <= {str, int, float, bool}
