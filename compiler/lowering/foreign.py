"""Names that PyTorch, NumPy and Keras use for what this language has, to help those who write them."""

from __future__ import annotations

from collections.abc import Collection

from compiler.ops import FUNCTIONS, LAYERS

__all__ = ["counterpart", "foreign_help"]

# Their names, in small letters and without underscores, and ours.
SAME = {
    "linear": "dense",
    "fc": "dense",
    "fullyconnected": "dense",
    "conv": "conv2d",
    "convolution": "conv2d",
    "convtranspose2d": "conv_transpose2d",
    "conv2dtranspose": "conv_transpose2d",
    "batchnorm1d": "batchnorm",
    "batchnorm2d": "batchnorm",
    "batchnormalization": "batchnorm",
    "layernormalization": "layernorm",
    "multiheadattention": "attention",
    "maxpool": "maxpool2d",
    "maxpooling2d": "maxpool2d",
    "avgpool": "avgpool2d",
    "averagepool": "avgpool2d",
    "averagepooling2d": "avgpool2d",
    "adaptiveavgpool2d": "global_avgpool2d",
    "globalaveragepool": "global_avgpool2d",
    "globalaveragepooling2d": "global_avgpool2d",
    "view": "reshape",
    "permute": "transpose",
    "cat": "concat",
    "concatenate": "concat",
    "clamp": "clip",
    "mm": "matmul",
    "bmm": "matmul",
    "dot": "matmul",
    "swish": "silu",
    "power": "pow",
    "expand": "broadcast_to",
    "expanddims": "unsqueeze",
    "amax": "max",
    "amin": "min",
    "ln": "log",
    "take": "gather",
    "bce": "binary_cross_entropy_with_logits",
    "bceloss": "binary_cross_entropy_with_logits",
    "bcewithlogitsloss": "binary_cross_entropy_with_logits",
    "binarycrossentropy": "binary_cross_entropy_with_logits",
    "crossentropyloss": "cross_entropy",
    "sparsecategoricalcrossentropy": "cross_entropy",
    "mseloss": "mse",
    "meansquarederror": "mse",
}

MODULES = "functions and layers have no module: `relu(x)`, `layer f = dense(10)`"
LOSS = "a loss belongs in a `train { … }` block"
HINTS = {
    "batch": "declare the size, `dim batch = 1`, which `dims=` and `--dim` change",
    "torch": MODULES,
    "nn": MODULES,
    "F": MODULES,
    "np": MODULES,
    "numpy": MODULES,
    "tf": MODULES,
    "keras": MODULES,
    "math": MODULES,
    "self": "there are no objects: a layer is declared on its own, `layer conv1 = conv2d(16, 5)`",
    "None": "what is not needed is left out; `unsqueeze(x, axis)` adds an axis",
    "True": "write `true`",
    "False": "write `false`",
    "len": "the sizes of a value are `x.shape`, the first one is `x.shape[0]`",
    "add": "write `a + b`",
    "mul": "write `a * b`",
    "Sequential": "layers are passed through one by one: `x |> conv1 |> relu |> fc1`",
    "sequential": "layers are passed through one by one: `x |> conv1 |> relu |> fc1`",
    "cross_entropy": LOSS,
    "binary_cross_entropy_with_logits": LOSS,
    "mse": LOSS,
    "sgd": "an optimizer belongs in a `train { … }` block",
    "adam": "an optimizer belongs in a `train { … }` block",
    "range": "a loop counts by `for i in 0..4 { … }`",
}


def counterpart(name: str) -> str | None:
    """Our name for theirs: `reshape` for `view`; the same for a function or layer that both call alike."""
    plain = name.replace("_", "").lower()
    ours = {each.replace("_", ""): each for each in (*FUNCTIONS, *LAYERS)}
    return SAME.get(plain) or ours.get(plain)


def foreign_help(name: str, candidates: Collection[str]) -> str | None:
    """What to do about a name of theirs that is unknown here; `candidates` are the names that would fit."""
    if name in HINTS:
        return HINTS[name]
    meant = counterpart(name)
    if meant is None:
        return None
    if meant in candidates:
        return f"did you mean `{meant}`?"
    if meant in HINTS:
        return HINTS[meant]
    if meant in LAYERS:
        return f"here it is a layer: declare `layer f = {meant}(…)`, and apply it: `x |> f`"
    return f"here it is a function: `{meant}(…)`"
