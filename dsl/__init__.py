"""The `.ppml` language: text to syntax tree, and the errors that point into the text."""

from dsl.parser import parse

__all__ = ["parse"]
