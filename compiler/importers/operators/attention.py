"""The operator Attention (since version 23): heads, masks, and what is kept of earlier positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from compiler.graph import Kind
from compiler.importers.known import Known
from compiler.importers.nodes import Absent, Node, Result
from compiler.importers.operators.elementwise import MASKED, both, summed
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import Size
from compiler.importers.terms import Term, call, endless, table

HELP = "export the model with opset 22 or earlier, where attention is decomposed"


def attention(node: Node) -> Result:
    """softmax(q k' * scale + mask) v for each head, and the keys and values of all positions."""
    q, k, v = (node.term(place) for place in range(3))
    flat = q.rank == 3
    if flat:
        heads, shared = int(node.attributes["q_num_heads"]), int(node.attributes["kv_num_heads"])
        q, k, v = apart(q, heads), apart(k, shared), apart(v, shared)
    past = 0
    if node.has(4):
        past = node.term(4).shape[2].fixed
        k, v = call("concat", node.term(4), k, axis=2), call("concat", node.term(5), v, axis=2)
    if node.has(6):
        raise Unsupported("the lengths of the keys are computed from the data", HELP)
    present = (k, v)
    groups = q.shape[1].fixed // k.shape[1].fixed
    k, v = _repeated(k, groups), _repeated(v, groups)
    scale = node.attribute("scale", None)
    scale = 1 / math.sqrt(q.shape[-1].fixed) if scale is None else float(scale)
    scores = call("*", call("matmul", q, call("transpose", k, axes=(0, 1, 3, 2))), scale)
    capped = float(node.attribute("softcap", 0.0))
    if capped:  # before the mask is added, as the reference and onnxruntime do in every version
        scores = _capped(scores, capped)
    causal = bool(node.attribute("is_causal", 0))
    plain = causal and not past and q.shape[2] == k.shape[2]
    if causal and not plain:
        scores = _causal(scores, past)
    if node.has(3):
        scores = _masked(node, scores)
    weights = call("softmax", scores, causal=True if plain else None)
    weights = _nothing_seen(node, weights)
    made = call("matmul", weights, v)
    return together(made) if flat else made, *present, Absent("the scores of the attention", HELP)


def _capped(scores: Term, cap: float) -> Term:
    return call("*", call("tanh", call("/", scores, cap)), cap)


def apart(x: Term, heads: int) -> Term:
    """[batch, positions, heads * depth] as [batch, heads, positions, depth]."""
    trials = len(x.values)
    batch, positions, size = x.shape
    split = (batch, positions, Size((heads,) * trials), Size((size.fixed // heads,) * trials))
    return call("transpose", call("reshape", x, shape=split), axes=(0, 2, 1, 3))


def together(x: Term) -> Term:
    batch, heads, positions, depth = x.shape
    return call("reshape", call("transpose", x, axes=(0, 2, 1, 3)), shape=(batch, positions, heads * depth))


def _repeated(x: Term, times: int) -> Term:
    """Each head several times, for the queries that share it."""
    if times == 1:
        return x
    batch, heads, positions, depth = x.shape
    count = Size((times,) * len(x.values))
    wide = call("broadcast_to", call("unsqueeze", x, axis=2), shape=(batch, heads, count, positions, depth))
    return call("reshape", wide, shape=(batch, heads * count, positions, depth))


def _causal(scores: Term, past: int) -> Term:
    queries, keys = scores.shape[-2].fixed, scores.shape[-1].fixed
    seen = np.tril(np.ones((queries, keys), np.bool_), past)
    trials = len(scores.values)
    return call("where", table(seen, trials), scores, hidden(trials))


def _masked(node: Node, scores: Term) -> Term:
    scores, mask = both(scores, node.value(3), node.trials)
    short = mask.shape[-1] != scores.shape[-1]
    if short:
        raise Unsupported("its mask is shorter than the keys", "pad the mask")
    if mask.kind is Kind.BIT:
        return call("where", mask, scores, hidden(node.trials))
    return summed(scores, mask)


def _nothing_seen(node: Node, weights: Term) -> Term:
    """A query that sees no key gets 0."""
    mask = node.value(3) if node.has(3) else None
    known = mask.arrays if isinstance(mask, Known) and mask.arrays[0].dtype.kind == "b" else ()
    if not all(bits.any(axis=-1).all() for bits in known):
        raise Unsupported("its mask hides all keys of a query", "leave the query out")
    if not isinstance(mask, Term) or mask.kind is not Kind.BIT:
        return weights
    return call("where", call("any", mask, axis=-1, keepdims=True), weights, 0.0)


def hidden(trials: int) -> Term:
    """What stands for minus infinity in front of a softmax."""
    return endless(table(MASKED, trials), True)


__all__ = ["HANDLERS", "apart", "hidden", "together"]

HANDLERS: Mapping[str, Callable[[Node], Result]] = {"Attention": attention}
