"""The typed tensor graph: what the front end lowers to, the passes rewrite and the expansion turns into gates.

A `Value` is one tensor: the op that makes it, its arguments, its type, who may see it and between which numbers it
lies. Values are made by `apply`, which asks the op for the type (and so for the user's error message) and the range,
and folds what is constant. Identity is the graph's edge: two values are the same only if they are the same object; the
common-subexpression pass makes equal ones one. Source positions and the wording around an `OpError` belong to the front
end.
"""

from compiler.graph import bounds
from compiler.graph.bounds import Norm
from compiler.graph.kinds import (
    FOLD_LIMIT,
    INT_LIMIT,
    MAX_ELEMENTS,
    MAX_FOLDED,
    MAX_RANK,
    Array,
    Kind,
    OpError,
    Precision,
    Shape,
    Visibility,
)
from compiler.graph.model import (
    Graph,
    Output,
    Preparation,
    Release,
    Rule,
    rebuild,
    rewrite,
    topological,
)
from compiler.graph.op import (
    BATCH,
    FACTS,
    NO_ROWS,
    OPS,
    ROWS_MEET,
    Constant,
    Gradients,
    Input,
    Leaf,
    NoGradient,
    Owned,
    Param,
    Prepared,
    Rounding,
    TensorOp,
)
from compiler.graph.values import (
    Value,
    apply,
    constant,
    declare,
    expect_constant,
    expect_tensor,
    stamp,
    table_shape,
)

__all__ = [
    "BATCH",
    "FACTS",
    "FOLD_LIMIT",
    "INT_LIMIT",
    "MAX_ELEMENTS",
    "MAX_FOLDED",
    "MAX_RANK",
    "NO_ROWS",
    "OPS",
    "ROWS_MEET",
    "Array",
    "Constant",
    "Gradients",
    "Graph",
    "Input",
    "Kind",
    "Leaf",
    "NoGradient",
    "Norm",
    "OpError",
    "Output",
    "Owned",
    "Param",
    "Precision",
    "Preparation",
    "Prepared",
    "Release",
    "Rounding",
    "Rule",
    "Shape",
    "TensorOp",
    "Value",
    "Visibility",
    "apply",
    "bounds",
    "constant",
    "declare",
    "expect_constant",
    "expect_tensor",
    "rebuild",
    "rewrite",
    "stamp",
    "table_shape",
    "topological",
]
