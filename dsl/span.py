"""A place in a source text. What is there is the syntax tree's and the messages' business."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Span"]


@dataclass(frozen=True)
class Span:
    """A stretch of source text: `text[start:end]`, with 1-based lines and columns counted in characters.

    `end`, and `end_column` in line `end_line`, stand one character behind the last one.
    """

    start: int
    end: int
    line: int
    column: int
    end_line: int
    end_column: int

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of `other`."""
        return Span(self.start, other.end, self.line, self.column, other.end_line, other.end_column)
