"""The table of all operators, by domain and name, and what is refused with the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compiler.importers.nodes import Node, Result
from compiler.importers.operators import (
    activations,
    attention,
    classical,
    distances,
    elementwise,
    linear,
    machines,
    norms,
    pooling,
    recurrent,
    reductions,
    rotary,
    scatter,
    shapes,
    trees,
)

ONNX, ML, RUNTIME = "", "ai.onnx.ml", "com.microsoft"

HANDLERS: Mapping[tuple[str, str], Callable[[Node], Result]] = {
    (domain, name): handler
    for domain, table in (
        (ONNX, activations.HANDLERS),
        (ONNX, attention.HANDLERS),
        (ONNX, elementwise.HANDLERS),
        (ONNX, linear.HANDLERS),
        (ONNX, norms.HANDLERS),
        (ONNX, pooling.HANDLERS),
        (ONNX, recurrent.HANDLERS),
        (ONNX, reductions.HANDLERS),
        (ONNX, rotary.HANDLERS),
        (ONNX, scatter.HANDLERS),
        (ONNX, shapes.HANDLERS),
        (ML, classical.HANDLERS),
        (ML, machines.HANDLERS),
        (ML, trees.HANDLERS),
        (RUNTIME, distances.HANDLERS),
    )
    for name, handler in table.items()
}

_QUANTISED = ("quantised arithmetic", "export the model before it is quantised, in float32")
_TEXT = ("it works on text", "turn the text into numbers before the model")

REFUSED: Mapping[tuple[str, str], tuple[str, str]] = {
    (ONNX, "If"): ("which branch is taken depends on the data", "compute both branches and choose with Where"),
    (ONNX, "SequenceConstruct"): ("it makes a list of tensors", "make each of them an output of the model"),
    (ONNX, "Mod"): ("the remainder of a division", "compute it before the model"),
    (ONNX, "NonZero"): ("how many elements it gives depends on the data", "choose with Where"),
    (ONNX, "Unique"): ("how many elements it gives depends on the data", "choose with Where"),
    (ONNX, "Compress"): ("how many elements it gives depends on the data", "choose with Where"),
    (ONNX, "NonMaxSuppression"): ("how many elements it gives depends on the data", "run it on the results"),
    **{
        (ONNX, name): _QUANTISED
        for name in (
            "QuantizeLinear",
            "DequantizeLinear",
            "DynamicQuantizeLinear",
            "QLinearConv",
            "QLinearMatMul",
            "ConvInteger",
            "MatMulInteger",
        )
    },
    **{(ONNX, name): _TEXT for name in ("StringNormalizer", "StringSplit", "StringConcat", "TfIdfVectorizer")},
    **{
        (ONNX, name): ("it draws random numbers", "leave it out of what is exported for prediction")
        for name in (
            "RandomNormal",
            "RandomNormalLike",
            "RandomUniform",
            "RandomUniformLike",
            "Bernoulli",
            "Multinomial",
        )
    },
}


def nearest(op: str) -> str | None:
    """The supported operator whose name is closest."""
    import difflib

    close = difflib.get_close_matches(op, [name for _, name in HANDLERS], 1, 0.75)
    return f"the nearest that is supported is {close[0]}" if close else None
