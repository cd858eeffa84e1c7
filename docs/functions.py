"""The tables of functions and layers in `docs/language.md`: `python -m docs.functions` writes them.

Names, arguments and defaults come from the compiler's registries; only what a function
computes is said here. A function that is missing here, or is here and not in the registry, is an error. The page keeps
its words; what stands between `<!-- table: NAME -->` and `<!-- end -->` is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from compiler.graph import OPS
from compiler.ops import FUNCTIONS, LAYERS, Function, Layer

PAGE = Path(__file__).parent / "language.md"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

GROUPS: dict[str, dict[str, str]] = {
    "Activations": {
        "relu": "max(x, 0)",
        "relu6": "min(max(x, 0), 6)",
        "leaky_relu": "x where x ≥ 0, else slope · x",
        "prelu": "x where x > 0, else slope · x, for a `slope` that broadcasts to x",
        "elu": "x where x ≥ 0, else α (eˣ − 1); α is from 0 to 4",
        "celu": "x where x ≥ 0, else α (e^(x/α) − 1); α is from 0.01 to 4",
        "selu": "1.0507 · `elu` with α = 1.6733",
        "gelu": "x Φ(x), by `erf`",
        "silu": "x · sigmoid(x)",
        "mish": "x · tanh(softplus(x))",
        "softplus": "log(1 + eˣ)",
        "sigmoid": "1 / (1 + e⁻ˣ)",
        "tanh": "hyperbolic tangent",
        "softmax": "eˣ divided by its sum along `axis`; with `causal`, queries `[…, queries, keys]` see no later keys",
        "log_softmax": "logarithm of `softmax`",
        "hardswish": "x · min(max(x + 3, 0), 6) / 6",
        "hardsigmoid": "min(max(x + 3, 0), 6) / 6",
    },
    "Arithmetic": {
        "abs": "magnitude",
        "sign": "−1, 0 or 1",
        "square": "x · x",
        "sqrt": "square root",
        "rsqrt": "1 / √x",
        "reciprocal": "1 / x",
        "exp": "eˣ",
        "log": "natural logarithm",
        "pow": "the same as `x ** exponent`; see [Expressions](#expressions)",
        "erf": "error function",
        "floor": "largest integer that is not above, as `int`",
        "ceil": "smallest integer that is not below, as `int`",
        "round": "nearest integer, of two the even one, as `int`",
        "minimum": "the smallest of two or more, element by element",
        "maximum": "the largest of two or more, element by element",
        "clip": "x, but not below `lo` or above `hi`",
        "where": "`a` where the bit is 1, else `b`",
    },
    "Linear": {
        "matmul": "matrix product; the same as `a @ b`",
        "einsum": 'NumPy\'s `einsum`, without diagonals and `…`: `einsum(a, b, equation="ij,jk->ik")`',
        "transpose": "axis `i` of the result is axis `axes[i]` of `x`; reversed without `axes`",
    },
    "Reductions": {
        "sum": "sum",
        "mean": "mean",
        "var": "mean of the squared distances to the mean (divided by n)",
        "max": "largest",
        "min": "smallest",
        "argmax": "index of the largest; of equals, the first. `axis` is one number",
        "argmin": "index of the smallest; of equals, the first",
        "cumsum": "each element and all before it along `axis`, added up",
        "any": "whether any bit is 1",
        "all": "whether all bits are 1",
    },
    "Shape": {
        "reshape": "the same elements in another shape; one size may be −1",
        "flatten": "keeps the first axis and joins the others",
        "concat": "joins along `axis`",
        "stack": "joins along a new `axis`",
        "pad": "adds elements around: `widths` is `[[before, after], …]`, one pair for each axis; `mode` as in NumPy",
        "resize2d": '`[n, c, h, w]` with another height and width, as PyTorch\'s `interpolate`; `mode="bilinear"` too',
        "squeeze": "removes axes of size 1",
        "unsqueeze": "adds an axis of size 1",
        "broadcast_to": "NumPy's `broadcast_to`",
    },
    "Pooling": {
        "maxpool1d": "maximum of windows of `[n, c, length]`",
        "maxpool2d": "maximum of windows of `[n, c, h, w]`; sizes and padding as in PyTorch",
        "avgpool1d": "mean of windows of `[n, c, length]`; without `count_include_pad` over what is inside",
        "avgpool2d": "mean of windows of `[n, c, h, w]`; sizes and padding as in PyTorch",
        "adaptive_avgpool1d": "mean of windows of equal length, `size` of them; it divides the length",
        "adaptive_avgpool2d": "mean of windows of equal size, `size` of them each way; it divides height and width",
        "global_avgpool2d": "mean of each channel: `[n, c, 1, 1]`",
    },
    "Selection": {
        "sort": "sorted along `axis`",
        "argsort": "the indices that sort; equal elements keep their order",
        "topk": "the `k` largest along the last axis, largest first",
        "argtopk": "indices of the `k` largest; of equals, the first comes first",
        "one_hot": "bits along a new last axis of size `n`: 1 at the index; all 0 for an index outside",
        "gather": "NumPy's `take`: the elements at `int` indices along `axis`; for a secret one outside, 0",
    },
    "Other": {
        "dropout": "x unchanged; in [training](training.md), elements are dropped with probability `p`",
        "clip_norm": "x scaled down so that its L2 norm over `axis` is at most `bound`",
    },
}

SHAPES: dict[str, str] = {
    "dense": "`weight [units, in]`, `bias [units]`; on `[batch, in]` or `[batch, positions, in]`",
    "conv1d": '`weight [out, in/groups, k]`, `bias [out]`; on `[n, c, length]`. `padding="same"` needs stride 1',
    "conv2d": "`weight [out, in/groups, kh, kw]`, `bias [out]`; on `[n, c, h, w]`. Sizes are a number or `[h, w]`;"
    ' `padding="same"` needs stride 1',
    "conv_transpose2d": "`weight [in, out/groups, kh, kw]`, `bias [out]`; on `[n, c, h, w]`",
    "batchnorm": "`weight`, `bias`, `running_mean`, `running_var`, all `[channels]`; the channels are axis 1",
    "prelu": "`weight [count]`; one slope for all, or one for each channel, which is axis 1",
    "layernorm": "`weight [last]`, `bias [last]`; over the last axis",
    "embedding": "`weight [count, size]`; on an `int` tensor, secret or not. Its cost grows with `count`",
    "attention": "`in_proj_weight [3·features, features]`, `in_proj_bias`, `out_proj.weight`, `out_proj.bias`;"
    " self-attention on `[batch, positions, features]`",
    "lstm": "`weight_ih_l0 [4·size, in]`, `weight_hh_l0 [4·size, size]`, `bias_ih_l0`, `bias_hh_l0`, for further"
    " `layers` `_l1` …, backwards `_l0_reverse`; on `[batch, positions, in]`, unrolled, from a state of 0",
    "gru": "the same with `3·size`",
    "forest": "`feature [trees, 2^depth − 1]` (`int`), `threshold [trees, 2^depth − 1]`,"
    " `leaf [trees, 2^depth, outputs]`: complete trees in level order, left where `x <= threshold`; on `[batch, in]`."
    " The sum of the trees' leaves, `[batch, outputs]`. `depth` is at most 12. Every `feature` lies in [0, in),"
    " whatever range `weights` has",
}

ONLY_OF_ONE_ROLE = {op.symbol for op in OPS.values() if not op.private}
LIMIT = "; *limited, see below*"
LIMITED = (
    "*Limited:* only of constants, and of values that depend on the data of one role alone. That role's own program"
    " computes them before sharing."
)


def functions() -> str:
    """A table for each group of functions."""
    _same("functions", FUNCTIONS, {name: text for group in GROUPS.values() for name, text in group.items()})
    return "\n".join("\n".join(_group(title, texts)) for title, texts in GROUPS.items())


def layers() -> str:
    """The table of layers with their parameters."""
    _same("layers", LAYERS, SHAPES)
    lines = ["| layer | parameters |", "|---|---|"]
    lines += [_row(LAYERS[name], text) for name, text in SHAPES.items()]
    return "\n".join(lines)


def _group(title: str, texts: Mapping[str, str]) -> Iterator[str]:
    yield from (f"### {title}", "")
    group = [FUNCTIONS[name] for name in texts]
    yield from ("| function | result |", "|---|---|")
    yield from (_row(each, texts[each.name]) for each in group)
    yield ""
    if any(each.name in ONLY_OF_ONE_ROLE for each in group):
        yield from (LIMITED, "")


def _row(entry: Function | Layer, text: str) -> str:
    return f"| `{entry.signature}` | {text}{LIMIT if entry.name in ONLY_OF_ONE_ROLE else ''} |"


def _same(what: str, registered: Mapping[str, object], described: Mapping[str, str]) -> None:
    if different := sorted(registered.keys() ^ described.keys()):
        raise KeyError(f"docs/functions.py and the compiler's {what} differ: {', '.join(different)}")


def filled(page: str) -> str:
    """The page with its tables as they are now."""
    tables = {"functions": functions, "layers": layers}
    return BLOCK.sub(lambda block: f"{block[1]}{tables[block[2]]().strip()}\n{block[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
