"""One table of operators: what each node of an ONNX graph is in the words of the language."""

from compiler.importers.operators.tables import HANDLERS, REFUSED, nearest

__all__ = ["HANDLERS", "REFUSED", "nearest"]
