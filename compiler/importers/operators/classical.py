"""The operators of `ai.onnx.ml`, which scikit-learn's models are exported to.

Their numbers are the owner's, and secret; labels are whole numbers, or the places of texts in a list (`Labelled`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import numpy as np

from compiler.graph import Array, Kind
from compiler.importers.known import Known, to_term
from compiler.importers.nodes import Absent, Node, Result
from compiler.importers.operators.elementwise import beside
from compiler.importers.operators.shapes import zip_map
from compiler.importers.problems import Unsupported
from compiler.importers.terms import Term, call, index, labelled, layer, table

BALANCED = 2.0**-4
"""Coefficients of a column that are all smaller are multiplied by a power of two, and the column divided by it: their
digits beyond the number format would be lost, and large columns multiply what is lost."""


# -- labels ------------------------------------------------------------------------------------------------------------


def labels(node: Node) -> list[int] | list[str]:
    """The labels of a classifier."""
    for name in ("classlabels_ints", "classlabels_int64s"):
        if name in node.attributes:
            return [int(each) for each in node.attributes[name]]
    texts = node.attribute("classlabels_strings", ())
    return [each.decode() for each in texts]


def chosen(place: Term, names: Sequence[int] | Sequence[str]) -> Term:
    """The label in that place of a list."""
    if all(isinstance(each, str) for each in names):
        return labelled(place, tuple(map(str, names)))
    if list(names) == list(range(len(names))):
        return place
    return call("gather", table(np.array(names, np.int64), len(place.values)), place)


def real(x: Term) -> Term:
    return x if x.kind is Kind.FIXED else call("*", x, 1.0)


# -- linear ------------------------------------------------------------------------------------------------------------


def attribute_array(node: Node, name: str) -> Array | None:
    found = node.attribute(name, None)
    return None if found is None or not len(found) else np.array(found, np.float32)


def scaler(node: Node) -> Result:
    """(x - offset) * scale, the scale as a public power of two and a secret rest."""
    x = real(node.term())
    offset, scale = attribute_array(node, "offset"), attribute_array(node, "scale")
    if offset is not None and offset.any():
        x = call("-", x, beside(_mine(node, offset, "offset"), x, node.trials))
    if scale is None or (scale == 1).all():
        return x
    x, scale = balanced(x, scale[None])
    return call("*", x, beside(_mine(node, scale[0], "scale"), x, node.trials))


def _mine(node: Node, array: Array, word: str) -> Known:
    return Known.same(array, node.trials, f"{node.name or node.op}.{word}", weight=array.size > 1)


def balanced(x: Term, matrix: Array) -> tuple[Term, Array]:
    """The columns of x by powers of two, so that the largest coefficient of each column of the matrix is about 1."""
    largest = np.abs(matrix).max(axis=0)
    if not largest.any() or largest[largest > 0].min() >= BALANCED:
        return x, matrix
    powers = np.where(largest > 0, np.exp2(np.ceil(np.log2(np.where(largest > 0, largest, 1)))), 1.0)
    powers = np.minimum(powers, 1.0)
    return call("*", x, table(powers, len(x.values))), np.asarray(matrix / powers)


def linear(x: Term, matrix: Array, bias: Array | None, hint: str) -> Term:
    x, matrix = balanced(real(x), matrix)
    held = {"weight": matrix} if bias is None else {"weight": matrix, "bias": bias}
    return layer("dense", x, held, hint, units=len(matrix))


def linear_regressor(node: Node) -> Result:
    targets = int(node.attribute("targets", 1))
    coefficients = attribute_array(node, "coefficients")
    assert coefficients is not None
    found = linear(node.term(), coefficients.reshape(targets, -1), attribute_array(node, "intercepts"), node.name)
    return transformed(found, node.attribute("post_transform", b"NONE").decode())


def linear_classifier(node: Node) -> Result:
    """The label of the largest score, and the scores."""
    coefficients, names = attribute_array(node, "coefficients"), labels(node)
    bias = attribute_array(node, "intercepts")
    assert coefficients is not None
    rows = len(bias) if bias is not None else max(1, len(names))
    scores = linear(node.term(), coefficients.reshape(rows, -1), bias, node.name)
    after = node.attribute("post_transform", b"NONE").decode()
    if rows == 1:
        label, both = two_classes(scores, names, after)
        doubt = f"scores with {after} of one row of coefficients, on which onnxruntime and ONNX's own evaluator differ"
        help = "export with LOGISTIC, or with a row of coefficients for each class"
        return label, both if after == "LOGISTIC" else Absent(doubt, help)
    return chosen(call("argmax", scores, axis=1), names), transformed(scores, after)


def two_classes(score: Term, names: Sequence[int] | Sequence[str], after: str) -> tuple[Term, Term]:
    """One score [n, 1], above 0 for the second of two classes."""
    second = call("*", call(">", index(score, slice(None), 0), 0.0), 1)
    if after == "LOGISTIC":
        p = call("sigmoid", score)
        return chosen(second, names), call("concat", call("-", 1.0, p), p, axis=1)
    both = call("concat", call("neg", score), score, axis=1)
    return chosen(second, names), transformed(both, after)


def transformed(scores: Term, after: str) -> Term:
    match after:
        case "NONE" | "":
            return scores
        case "SOFTMAX":
            return call("softmax", scores)
        case "LOGISTIC":
            return call("sigmoid", scores)
    raise Unsupported(f"the transformation {after} of scores", "NONE, SOFTMAX and LOGISTIC are supported")


# -- small steps -------------------------------------------------------------------------------------------------------


def normalizer(node: Node) -> Result:
    """Each row divided by its norm."""
    x = real(node.term())
    match node.attribute("norm", b"MAX").decode():
        case "L2":
            return call("*", x, call("rsqrt", call("sum", call("square", x), axis=-1, keepdims=True)))
        case "L1":
            size = x if x.lowest >= 0 else call("abs", x)
            return call("/", x, call("sum", size, axis=-1, keepdims=True))
        case _:  # of the numbers as they are, as the standard and onnxruntime have it
            return call("/", x, call("max", x, axis=-1, keepdims=True))


def binarizer(node: Node) -> Result:
    threshold = float(node.attribute("threshold", 0.0))
    return call("*", call(">", node.term(), threshold), 1.0)


def array_feature_extractor(node: Node) -> Result:
    """Columns by their places; or the label in a computed place of a list. A list is a table of one row."""
    x, i = node.value(0), node.value(1)
    if isinstance(x, Known) and isinstance(i, Term):
        if x.array.size == x.array.shape[-1] and x.array.dtype.kind != "f":
            names = [each.decode() if isinstance(each, bytes) else each for each in x.array.reshape(-1).tolist()]
            return chosen(call("reshape", i, shape=(*[1] * max(x.rank - 1, 1), -1)), names)
        rows = Known(tuple(np.atleast_2d(array) for array in x.arrays), x.hint, x.weight)
        return call("gather", to_term(rows, node.trials), call("reshape", i, shape=(-1,)), axis=rows.rank - 1)
    term = node.term(0)
    places = node.array(1, "the columns").reshape(-1).astype(np.int64)
    return call("gather", term, table(places, node.trials), axis=term.rank - 1 or None)


def label_encoder(node: Node) -> Result:
    """Whole numbers to other ones, or to texts; the default stands behind the others."""
    x = node.term()
    keys, values = _keys(node), _values(node)
    if len(keys) != len(values) - 1:
        raise Unsupported(f"it has {len(keys)} keys for {len(values) - 1} values", "give it one for each")
    within = x.kind is Kind.INT and all(value.range.lo >= 0 and value.range.hi < len(keys) for value in x.values)
    place = x
    if keys != list(range(len(keys))) or not within:
        count = len(keys)
        hits = [call("*", call("==", x, key), number - count) for number, key in enumerate(keys)]
        place = reduce(lambda a, b: call("+", a, b), hits, table(count, node.trials))
    if values.dtype.kind == "f":
        return call("gather", table(values.astype(np.float64), node.trials), place)
    return chosen(place, values.tolist())


def _keys(node: Node) -> list[int] | list[float]:
    whole, real_keys = node.attribute("keys_int64s", None), node.attribute("keys_floats", None)
    if whole is not None:
        return [int(key) for key in whole]
    if real_keys is None:
        raise Unsupported("it encodes text", "encode the data before it goes into the model")
    if any(np.isnan(key) for key in real_keys):
        raise Unsupported("it encodes NaN, and no number is NaN here", "encode the data before it goes into the model")
    return [float(key) for key in real_keys]


def _values(node: Node) -> Array:
    """The values, and behind them the default."""
    for kind, default in (("int64", -1), ("string", b"_Unused"), ("float", -0.0)):
        found = node.attribute(f"values_{kind}s", None)
        if found is not None:
            listed = [*found, node.attribute(f"default_{kind}", default)]
            return np.array([each.decode() if isinstance(each, bytes) else each for each in listed])
    raise Unsupported("its table is missing")


def one_hot_encoder(node: Node) -> Result:
    x = node.term()
    if "cats_strings" in node.attributes:
        raise Unsupported("it encodes text", "encode the data before it goes into the model")
    cats = np.array(node.attributes["cats_int64s"], np.int64)
    wide = call("unsqueeze", x, axis=x.rank)
    return call("*", call("==", wide, table(cats if x.kind is Kind.INT else cats * 1.0, node.trials)), 1.0)


def feature_vectorizer(node: Node) -> Result:
    terms = [real(node.term(place)) for place in range(len(node.inputs))]
    return terms[0] if len(terms) == 1 else call("concat", *terms, axis=1)


def imputer(node: Node) -> Result:
    """No number that an owner provides is missing."""
    missing = node.attribute("replaced_value_float", None)
    if missing is not None and not np.isnan(missing):
        raise Unsupported(f"{missing:g} stands for missing values", "fill them in before they go into the model")
    return node.term()


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "Scaler": scaler,
    "LinearRegressor": linear_regressor,
    "LinearClassifier": linear_classifier,
    "Normalizer": normalizer,
    "Binarizer": binarizer,
    "ArrayFeatureExtractor": array_feature_extractor,
    "LabelEncoder": label_encoder,
    "OneHotEncoder": one_hot_encoder,
    "FeatureVectorizer": feature_vectorizer,
    "Imputer": imputer,
    "ZipMap": zip_map,
}
