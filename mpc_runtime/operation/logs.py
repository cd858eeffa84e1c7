"""Events as lines of a log, by Python's `logging`: for people, or as JSON for programs.

    2026-03-01T12:00:00.123Z INFO p0 is ready | plan=digits:0f3a… session=9c…
    {"time": "2026-03-01T12:00:00.123Z", "level": "info", "machine": "p0", "event": "ready", …}

A line is one line, whatever another machine has put into its messages.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import IO, Any

from .events import Event, Place

__all__ = ["FORMATS", "LEVELS", "Log", "logger_to"]

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
MOST = 4096  # characters of an event's words: other machines have a part in some
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Log:
    """A watcher that writes every event to a logger."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __call__(self, place: Place, event: Event) -> None:
        if self._logger.isEnabledFor(event.level):
            known = {"event": event.kind, "machine": place.machine, "plan": place.plan, "session": place.session}
            fields = {**{name: value for name, value in known.items() if value}, **event.facts()}
            self._logger.log(event.level, "%s", str(event)[:MOST], extra={"fields": fields})


def logger_to(stream: IO[str], format: str = "text", level: str = "info") -> logging.Logger:
    """A logger of its own (no other of the process is touched) that writes lines of this format to the stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Json() if format == "json" else _Text())
    logger = logging.Logger("mpc_runtime", level.upper())
    logger.addHandler(handler)
    return logger


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return fields


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = dict(_fields(record))
        machine = fields.pop("machine", "")
        fields.pop("event", None)
        rest = " ".join(f"{name}={value}" for name, value in fields.items())
        parts = (_time(record), record.levelname, machine, record.getMessage(), f"| {rest}" if rest else "")
        return _one_line(" ".join(part for part in parts if part))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": _time(record), "level": record.levelname.lower(), **_fields(record)}
        return json.dumps({**fields, "message": record.getMessage()})


def _one_line(text: str) -> str:
    """The text with what would begin a line, or move a terminal's cursor, written out."""
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)
