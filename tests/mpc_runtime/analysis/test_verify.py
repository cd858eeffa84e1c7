"""A plan that somebody crafted is refused by the rule that it breaks, at its op, before anything is allocated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.analysis.leakage import manifest
from mpc_runtime.analysis.verify import MAX_ELEMENTS, expect_room, verify
from mpc_runtime.gates import (
    Add,
    Broadcast,
    Conv2d,
    FromPublic,
    Gate,
    Input,
    Lift,
    MatMul,
    Mul,
    Open,
    Reveal,
    Scale,
    SquareSum,
    Unmask,
    Xor,
)
from mpc_runtime.plan import FORMAT, HEADER, MAGIC, Plan, Promise
from mpc_runtime.plan_file import read
from mpc_runtime.procedure import Kept, Op, Round
from mpc_runtime.registers import Domain, Form, Register
from tests.mpc_runtime.plans import linear
from tests.plans_by_hand import Builder

U = np.uint64
Head = dict[str, Any]


def file_of(plan: Plan, change: Callable[[Head], object]) -> bytes:
    """The plan's file with its head changed, and written canonically again."""
    data = plan.to_bytes()
    _, _, length = HEADER.unpack_from(data)
    head = json.loads(data[HEADER.size : HEADER.size + length])
    change(head)
    text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
    return HEADER.pack(MAGIC, FORMAT, len(text)) + text + data[HEADER.size + length :]


def with_gates(plan: Plan, change: Callable[[Gate], Gate], name: str = "run") -> Plan:
    """The plan with each gate of a procedure as `change` makes it."""
    changed = [
        replace(p, ops=tuple(Op(change(op.gate), op.receiver) for op in p.ops)) if p.name == name else p
        for p in plan.procedures
    ]
    return replace(plan, procedures=tuple(changed))


def with_run(plan: Plan, **fields: Any) -> Plan:
    setup, run = plan.procedures
    return replace(plan, procedures=(setup, replace(run, **fields)))


def with_register(plan: Plan, number: int, **fields: Any) -> Plan:
    registers = list(plan.registers)
    registers[number] = replace(registers[number], **fields)
    return replace(plan, registers=tuple(registers))


def refused(plan: Plan, why: str) -> None:
    with pytest.raises(mpc.CompileError, match=why):
        read(plan.to_bytes())
    with pytest.raises(mpc.CompileError, match=why):
        manifest(plan)


# -- what an independent review found ----------------------------------------------------------------------------------


def test_a_client_is_not_made_to_share_in_clear_what_its_gate_calls_secret() -> None:
    plan = linear()
    clear = replace(plan, feeds=(replace(plan.feeds[0], public=True), *plan.feeds[1:]))
    refused(clear, "`x` is secret, but would be shared in clear")
    shown = replace(clear, inputs=(replace(plan.inputs[0], public=True),))
    refused(shown, r"run op 0 \(input\)|op 0: input.*`x` is public to its owner, secret here")
    both = with_gates(shown, lambda g: replace(g, public=True) if isinstance(g, Input) else g)
    refused(both, "input")  # and then the register and all that reads it are of another form


def test_a_plan_cannot_say_itself_what_it_reveals() -> None:
    data = file_of(linear(), lambda head: head.update(leakage=["nothing is revealed to anybody"]))
    with pytest.raises(mpc.CompileError, match="no field of a plan: 'leakage'"):
        read(data)


def test_an_opening_is_not_scheduled_twice() -> None:
    plan = linear(chain=1)
    run = plan.procedure("run")
    first, *rest = run.rounds
    again = with_run(plan, rounds=(first, Round((), first.opens, ()), *rest))
    refused(again, "run: an op is scheduled twice, or not at all")


def test_an_operand_is_not_overwritten_between_two_openings() -> None:
    b = Builder()
    one, other = (b.input(np.arange(3, dtype=U)) for _ in (0, 1))
    b.open(one)
    b.open(other)
    plan = b.plan()
    inputs = [g for g in plan.procedure("run").gates if isinstance(g, Input)]
    merged = with_gates(plan, lambda g: replace(g, y=one) if g == inputs[1] else g)
    refused(with_gates(merged, lambda g: replace(g, x=one) if isinstance(g, Open) else g), "for the second time")


@pytest.mark.parametrize("name", ["dilation", "stride"])
def test_a_convolution_has_no_numbers_whose_sum_overflows(name: str) -> None:
    b = Builder()
    x, w = b.wire(np.zeros((1, 1, 8, 8), U)), b.wire(np.zeros((1, 1, 3, 3), U))
    b.emit(Conv2d, (1, 1, 6, 6), 64, stride=(1, 1), padding=(0,) * 4, dilation=(1, 1), groups=1, x=x, y=w)
    plan = b.plan()
    verify(plan)
    for number in ((1 << 63) - 1, 1 << 32, 0, -1):
        crafted = with_gates(plan, lambda g, n=number: replace(g, **{name: (n, 1)}) if isinstance(g, Conv2d) else g)
        refused(crafted, rf"conv2d.*{name}: expected 1 to 1048576, found {number}")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "dicts"])
def test_a_deeply_nested_file_is_damaged(text: str) -> None:
    with pytest.raises(mpc.CompileError, match="nested too deeply"):
        read(HEADER.pack(MAGIC, FORMAT, len(text)) + text.encode())


@pytest.mark.parametrize("shape", [[1 << 70], [(1 << 63) - 1, 4], [-1], [1e300], ["3"], [True]])
def test_a_constant_larger_than_its_file_is_damaged(shape: list[object]) -> None:
    for dtype in ("<u8", "|u1", "<f8", "O", 7):
        with pytest.raises(mpc.CompileError, match="damaged"):
            read(file_of(linear(), lambda head, d=dtype: head["constants"].append([d, shape])))


# -- rule by rule ------------------------------------------------------------------------------------------------------


def test_every_register_is_written_once() -> None:
    plan = linear()
    twice = with_gates(plan, lambda g: replace(g, y=2) if isinstance(g, Open) else g)
    refused(with_gates(twice, lambda g: replace(g, x=2) if isinstance(g, MatMul) else g), "for the second time")
    kept = with_gates(plan, lambda g: replace(g, y=1) if isinstance(g, Open) else g)
    refused(with_gates(kept, lambda g: replace(g, x=1) if isinstance(g, MatMul) else g), "register 1 holds")
    for number in (99, -1):
        missing = with_gates(plan, lambda g, n=number: replace(g, x=n) if isinstance(g, Open) else g)
        refused(missing, rf"reads register .{number}.|expected 0 to 5, found {number}")


@pytest.mark.parametrize(
    ("rounds", "why"),
    [
        ([((0,), (1,), ()), ((2, 3), (), ())], "scheduled twice, or not at all"),
        ([((0,), (1,), ()), ((2, 4, 3), (), ())], r"op 4 \(Reveal\) is scheduled before an operand"),
        ([((0,), (1,), (2,)), ((3, 4), (), ())], r"op 2 \(MatMul\) is scheduled before an operand"),
        ([((), (1,), (0,)), ((2, 3, 4), (), ())], r"op 1 \(Open\) is scheduled before an operand"),
        ([((0, 1, 2, 3, 4), (), ())], r"op 1 \(Open\) is scheduled as an opening or as local work: wrongly"),
        ([((), (0, 1), ()), ((2, 3, 4), (), ())], r"op 0 \(Input\) is scheduled as an opening"),
        ([((0,), (1, 1), ()), ((2, 3, 4), (), ())], "scheduled twice"),
        ([((0,), (1,), ()), ((2, 3, 4, 5), (), ())], "scheduled twice, or not at all"),
        ([((0,), (1,), ()), ((2, 3, 4, -1), (), ())], "scheduled twice, or not at all"),
    ],
)
def test_every_op_is_scheduled_once_after_its_operands(rounds: list[tuple[tuple[int, ...], ...]], why: str) -> None:
    refused(with_run(linear(), rounds=tuple(Round(*r) for r in rounds)), why)


@pytest.mark.parametrize(
    ("number", "fields", "why"),
    [
        (4, {"shape": (2, 3)}, r"register 4 holds words \[2, 3\] at scale 0, not words \[2, 4\] at scale 0"),
        (4, {"form": Form.SHARED}, "register 4 is shared, not offset"),
        (4, {"scale": 3}, "at scale 3, not words"),
        (3, {"form": Form.BARE}, "register 3 is bare, not wire"),
        (3, {"bits": 32}, "register 3 has 32 bits, but 64 are read"),
        (2, {"bits": 32}, "`x` is shared in 64 bits and held in 32"),
        (2, {"domain": Domain.BITS, "bits": 1}, "`x` is shared in 64 bits and held in 1"),
        (2, {"form": Form.PUBLIC}, "register 2 is public, not shared"),
        (2, {"bits": 65}, "register 2: bits: expected 1 to 64, found 65"),
        (2, {"bits": 0}, "register 2: bits: expected 1 to 64, found 0"),
        (2, {"planes": 2}, "register 2: planes"),
        (2, {"scale": 1000}, "register 2: scale"),
        (2, {"shape": (-1, 3)}, "register 2: size of an axis"),
        (2, {"shape": (MAX_ELEMENTS, 2)}, "register 2: elements"),
        (2, {"shape": (1,) * 17}, "register 2: axes"),
    ],
)
def test_every_type_is_what_its_gate_infers(number: int, fields: dict[str, Any], why: str) -> None:
    refused(with_register(linear(), number, **fields), why)


def test_shares_that_miss_an_offset_are_not_revealed() -> None:
    plan = with_gates(linear(), lambda g: replace(g, x=4) if isinstance(g, Reveal) else g)
    refused(plan, "expected a shared operand, found a offset one|miss an offset|offset one")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"roles": ("client", "modeller")}, "sent to client and modeller, but declared for client"),
        ({"bits": 32}, "what is sent is not what its roles decode"),
        ({"result_name": "z"}, "`y` is sent by 0 ops"),
    ],
)
def test_what_is_sent_is_what_is_declared(fields: dict[str, Any], why: str) -> None:
    refused(with_gates(linear(), lambda g: replace(g, **fields) if isinstance(g, Reveal) else g), why)


def test_results_feeds_and_tensors_agree() -> None:
    plan = linear()
    x, w = plan.feeds
    (y,) = plan.results
    for wrong, why in (
        ({"results": (replace(y, roles=("eve",)),)}, "declared for eve|for eve, which the plan does not know"),
        ({"results": (y, y)}, "two results are called y"),
        ({"results": (y, replace(y, name="z"))}, "`z` is sent by 0 ops"),
        ({"feeds": (x,)}, "no role shares `w`"),
        ({"feeds": (x, w, replace(x, name="z"))}, "`z` is taken by 0 ops"),
        ({"feeds": (replace(x, role="modeller"), w)}, "modeller has no tensor `x`"),
        ({"feeds": (replace(x, role="eve"), w)}, "there is no such role"),
        ({"feeds": (replace(x, lo=-1.0), w)}, "not that of the tensor"),
        ({"feeds": (replace(x, shape=(2, 4)), w)}, "not that of the tensor"),
        ({"feeds": (replace(x, source=""), w)}, "expected a tensor or an expression"),
        ({"feeds": (replace(x, source="", expression="[]" * 9), w)}, "the expression cannot be read"),
        ({"feeds": (replace(x, source="", expression="[" * 9000), w)}, "the expression cannot be read"),
        ({"inputs": (replace(plan.inputs[0], lo=5.0, hi=1.0),)}, "no range"),
        ({"inputs": (replace(plan.inputs[0], dims=()),)}, "expected a name, or none"),
        ({"inputs": (replace(plan.inputs[0], kind="float"),)}, "expected a kind of fixed or int or bit"),
        ({"roles": ("client", "client", "modeller")}, "two roles are called client"),
        ({"model": "abc"}, "model: expected a SHA-256 hash"),
        ({"name": "x\nverified"}, "would look like something else in a message"),
    ):
        refused(replace(plan, **wrong), why)  # type: ignore[arg-type]


def test_what_crosses_executions_crosses_as_shares() -> None:
    plan = linear()
    refused(with_run(plan, keeps=(Kept(3, 3),)), "register 3 is left as a wire value, but must cross as shares")
    refused(with_run(plan, keeps=(Kept(5, 4),)), "register 5 cannot be left in 4")
    refused(with_run(plan, keeps=(Kept(5, 99),)), "register left: expected 0 to 5, found 99")
    setup, run = plan.procedures
    refused(replace(plan, procedures=(replace(setup, keeps=()), run)), "reads register .1., which nothing leaves")
    refused(replace(plan, procedures=(replace(setup, standing=False), run)), "must cross as shares")


def test_an_operand_of_a_halved_product_has_its_ring_but_for_one_bit() -> None:
    """Party 0 takes its share of the mask once, and the value twice: with a bit less, every result would be wrong."""
    b = Builder()
    x, y = b.wire(np.ones((2, 2), U), 64), b.wire(np.ones((2, 2), U), 63)
    b.emit(MatMul, (2, 2), 64, x=x, y=y, half="y")
    plan = b.plan()
    verify(plan)
    refused(
        with_gates(plan, lambda g: replace(g, half="x") if isinstance(g, MatMul) else g), "63 bits, but 64 are read"
    )
    refused(with_gates(plan, lambda g: replace(g, half="z") if isinstance(g, MatMul) else g), "half: expected")


def test_sums_of_squares_are_in_no_wider_a_ring_than_what_is_squared_allows() -> None:
    """Of x mod 2^l without its lowest bits, and of squares that are lifted, so many bits are known and no more."""
    b = Builder()
    wire = b.wire(np.ones((2, 3), U), 40)
    squares = b.emit(SquareSum, (2,), 33, axis=1, axes=1, shift=8, x=wire)
    b.emit(Lift, (4,), 36, by=(3, 4), xs=(squares, squares))
    plan = b.plan()
    verify(plan)

    def changed(kind: type[Gate], **attributes: object) -> Plan:
        return with_gates(plan, lambda g: replace(g, **attributes) if isinstance(g, kind) else g)

    refused(with_register(plan, squares, bits=34), "has 40 bits, but 41 are read")
    refused(with_register(plan, squares, bits=58), "the ring has at most 57 bits")
    refused(changed(SquareSum, shift=40), "shift: expected 0 to 39, found 40")
    refused(changed(SquareSum, axis=2), "axis: expected 0 to 1, found 2")
    refused(changed(SquareSum, axes=3), "axes: expected 1 to 2, found 3")
    refused(changed(Lift, by=(2, 4)), "33 bits, but 34 are read")
    refused(changed(Lift, by=(3,)), "2 operands and 1 powers of two")
    refused(changed(Lift, by=(3, 64)), "by: expected 0 to 63, found 64")


def test_forms_that_cannot_be_combined_are_refused() -> None:
    """Each of these computes a wrong number, or would need what no party has."""
    b = Builder()
    ones = np.ones(4, U)
    shared, wire, public = b.input(ones), b.wire(ones), b.input(ones, public=True)
    bits = b.input(np.ones(4, np.uint8))
    for gate, why in (
        (Add(False, shared, wire, 0), "a sum of shares and masked values"),
        (Mul(shared, shared, 0), "a product of shares"),
        (Mul(wire, public, 0), "a masked value times what is public in a run"),
        (Open(wire, 0), "expected a shared or offset operand, found a wire one"),
        (Open(public, 0), "expected a shared or offset operand, found a public one"),
        (Unmask(shared, 0), "expected a wire or bare operand, found a shared one"),
        (FromPublic(wire, 0), "expected a public or constant operand, found a wire one"),
        (Scale(3, bits, 0), "expected an operand of words, found bits"),
        (Xor(shared, bits, 0), "expected an operand of bits, found words"),
    ):
        plan = b.plan()
        y = len(plan.registers)
        setup, run = plan.procedures
        placed = replace(gate, **({"z": y} if hasattr(gate, "z") else {"y": y}))  # type: ignore[type-var]
        op, before = Op(placed, 0), run.rounds[-1]
        communicates = (Round((), (len(run.ops),), ()),) if gate.communicates else ()
        last = before if gate.communicates else replace(before, overlap=(*before.overlap, len(run.ops)))
        if not gate.communicates and before.opens:
            last, communicates = before, (Round((len(run.ops),), (), ()),)
        crafted = replace(
            plan,
            registers=(*plan.registers, Register((4,), Form.SHARED)),
            procedures=(setup, replace(run, ops=(*run.ops, op), rounds=(*run.rounds[:-1], last, *communicates))),
        )
        refused(crafted, why)


def test_a_prepared_expression_does_not_show_a_secret() -> None:
    """A batchnorm's scale is computed by its owner's client; shared in clear, it would tell the parameters."""
    text = "model m\nrole a, b\ninput x : [2, 3] from a in [-1, 1]\nparam w : [3] from b in [-1, 1]\n"
    plan = mpc.compile(text=text + "output y = x * (w / 2 + 1) to a\n").plan
    prepared = next(f for f in plan.feeds if f.expression)
    feeds = tuple(replace(f, public=True) if f is prepared else f for f in plan.feeds)
    refused(replace(plan, feeds=feeds), "`w` is secret, but would be shared in clear")


# -- memory, files and the manifest ------------------------------------------------------------------------------------


def test_memory_is_bounded_before_any_is_taken() -> None:
    """Tensors of 2^31 elements: 16 GB each, in a file of some kilobytes."""
    b = Builder()
    x = b.input(np.ones((1, 1), U))
    plan = b.plan()
    shape = (1 << 16, 1 << 15)
    wide = b.emit(Broadcast, shape, 64, shape=shape, x=x)
    sums = [b.emit(Add, shape, 64, negative=False, x=wide, y=wide) for _ in range(300)]
    for one in sums:
        b.emit(Add, shape, 64, negative=False, x=one, y=sums[-1])
    refused(b.plan(), "an execution takes about .* of memory, but the limit is")
    verify(plan)
    with pytest.raises(mpc.CompileError, match="of memory, but the limit is 1,000 B; compile it for a smaller batch"):
        expect_room(plan, 1000)


def test_a_file_is_the_one_canonical_text_of_its_plan() -> None:
    """So that two files with the same plan have the same hash."""
    data = linear().to_bytes()
    _, _, length = HEADER.unpack_from(data)
    text = json.dumps(json.loads(data[HEADER.size : HEADER.size + length])).encode()
    with pytest.raises(mpc.CompileError, match="not canonical"):
        read(HEADER.pack(MAGIC, FORMAT, len(text)) + text + data[HEADER.size + length :])


def test_the_manifest_names_what_each_output_shows() -> None:
    assert manifest(linear())[0] == "output `y` is revealed to client: 8 numbers of 64 bits"
    text = "model m\nrole a, b\ninput x : [2, 3] from a in [-1, 1]\ninput z : [2, 3] from b in [-1, 1]\n"
    said = mpc.compile(text=text + "output p = x > z to a, b\noutput q = x * z to b\n").leakage
    assert "output `p` is revealed to a and b: 6 bits" in said
    assert "output `q` is revealed to b: 6 numbers of 18 bits, 16 of them behind the point" in said


def test_the_source_beside_a_plan_is_not_believed(tmp_path: Path) -> None:
    """It is no part of the hash: what it says must be what the plan computes."""
    text = (
        "model m\nrole a, b\ninput x : [2] from a in [-1, 1]\ninput z : [2] from b in [-1, 1]\noutput y = x * z to a\n"
    )
    plan = mpc.compile(text=text).plan
    replace(plan, source=text.replace("x * z", "x + z")).save(tmp_path / "lying.plan")
    lying = mpc.load(tmp_path / "lying.plan")
    with pytest.raises(mpc.CompileError, match="not what the source text beside it compiles to: they differ in"):
        lying.reference({"x": [1, 1], "z": [1, 1]})
    plan.save(tmp_path / "true.plan")
    assert np.allclose(mpc.load(tmp_path / "true.plan").reference({"x": [1, 1], "z": [0.5, 1]})["y"], [0.5, 1])


def test_a_check_is_one_bit_for_each_of_its_promises() -> None:
    b = Builder()
    b.reveal(b.input(np.ones(3, np.uint8)), ("a",), 1, "bits")
    b.reveal(b.input(np.uint8(1)), ("a",), 1, "bit")
    b.reveal(b.input(np.ones(2, U)), ("a",), 64, "words")
    plan = b.plan()
    each = tuple(Promise(name, line, -1.0, 1.0, 0) for line, name in enumerate("xyz"))

    def checking(name: str, *promises: Promise) -> Plan:
        results = (replace(r, promises=promises) if r.name == name else r for r in plan.results)
        return replace(plan, results=tuple(results))

    for right in (checking("bits", *each), checking("bit", each[0])):
        verify(right)
        assert read(right.to_bytes()).results == right.results
    refused(checking("bits", *each[:2]), r"the result 'bits': expected a bit for each of 2 promises, found bit \[3\]")
    refused(checking("bits", each[0]), r"a bit for each of 1 promises, found bit \[3\]")
    refused(checking("bit", *each), r"a bit for each of 3 promises, found bit \[\]")
    refused(checking("words", *each[:2]), r"a bit for each of 2 promises, found int \[2\]")
    refused(checking("bits", *each[:2], each[0]), "two of its promises are called alike")
    refused(checking("bit", replace(each[0], value="x`\n")), "would look like something else in a message")
    refused(checking("bit", replace(each[0], lo=2.0)), "its range is empty")


def test_the_manifest_says_each_promise_of_a_check() -> None:
    b = Builder()
    b.reveal(b.input(np.ones(2, np.uint8)), ("a",), 1, "kept")
    plan = b.plan()
    promises = (Promise("x", 3, -1.0, 1.0, 0), Promise("y", 4, -2.0, 2.0, 0, norm=True))
    lines = manifest(replace(plan, results=(replace(plan.results[0], promises=promises),)))
    assert lines[1:4] == (
        "`kept` has a bit for each of 2 limits: 1 if the limit was kept, and else 0; where one is 0, the results of "
        "this run may be wrong, and its clients refuse them",
        "limit 1 of 2 (line 3): all of `x` lies in [-1, 1]",
        "limit 2 of 2 (line 4): each vector of `y` has a norm of at most 2",
    )
