"""A part of ONNX's own backend tests of single operators; `python -m tests.fuzz.onnx_nodes` runs all of them."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="needs onnx: pip install 'mpc-runtime[test]'")

from tests.fuzz.onnx_nodes import AGREES, WRONG, cases, judged

FILES = (
    "argmax", "batch_normalization", "bitshift", "clip", "concat", "conv", "convtranspose", "cumsum", "depthtospace",
    "einsum", "expand", "flatten", "gather", "gatherelements", "gathernd", "gelu", "gemm", "groupnormalization", "gru",
    "hardsigmoid", "instance_normalization", "layernormalization", "logsoftmax", "lstm", "maxpool", "mod", "nonzero",
    "onehot", "pad", "pow", "prelu", "reduce_log_sum_exp", "reduceprod", "reducesum", "reshape", "rmsnormalization",
    "rnn", "scan", "slice", "softmax", "split", "squeeze", "tile", "topk", "transpose", "trilu", "where", "xor",
)  # fmt: skip
EVERY = 3  # of the cases of these files: the others take the same ways


def test_cases_agree_or_are_refused() -> None:
    names = sorted(cases(FILES))[::EVERY]
    found = {name: judged(cases(FILES)[name]) for name in names}
    wrong = [f"{name}: {outcome.why}" for name, outcome in found.items() if outcome.kind == WRONG]
    assert not wrong, "\n".join(wrong)
    agrees = [outcome.kind for outcome in found.values()].count(AGREES)
    assert agrees > len(names) * 2 // 3
