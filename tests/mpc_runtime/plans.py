"""Small plans made by hand, so that the runtime's tests need no compiler."""

from __future__ import annotations

from mpc_runtime.gates import Input, Materialize, MatMul, Open, Reveal, Unmask
from mpc_runtime.plan import Feed, Options, Origin, Plan, Result, Tensor
from mpc_runtime.procedure import Kept, Op, Procedure, Round
from mpc_runtime.registers import Domain, Form, Register


def linear(batch: int = 2, wide: int = 3, out: int = 4, *, chain: int = 0, name: str = "linear") -> Plan:
    """x [batch, wide] of a client times w [wide, out] of a modeller, whole numbers; `chain` more rounds open the
    result.
    """
    registers = [
        Register((wide, out), Form.SHARED),
        Register((wide, out), Form.WIRE),
        Register((batch, wide), Form.SHARED),
        Register((batch, wide), Form.WIRE),
        Register((batch, out), Form.OFFSET),
        Register((batch, out), Form.SHARED),
    ]
    ops = [Op(Input("x", False, 2), 0), Op(Open(2, 3), 0), Op(MatMul(3, 1, 4), 0), Op(Materialize(4, 5), 1)]
    rounds = [Round((0,), (1,), ())]
    before: tuple[int, ...] = (2, 3)
    last = 5
    for _ in range(chain):
        wire = len(registers)
        registers += [Register((batch, out), Form.WIRE), Register((batch, out), Form.SHARED)]
        ops += [Op(Open(last, wire), 0), Op(Unmask(wire, wire + 1), 0)]
        rounds.append(Round(before, (len(ops) - 2,), ()))
        before, last = (len(ops) - 1,), wire + 1
    ops.append(Op(Reveal("y", ("client",), 64, last), 0))
    rounds.append(Round((*before, len(ops) - 1), (), ()))
    opening = Op(Input("w", False, 0), 0), Op(Open(0, 1), 0)
    feed = {
        "domain": Domain.WORDS,
        "bits": 64,
        "scale": 0,
        "public": False,
        "expression": "",
        "lo": -1000.0,
        "hi": 1000.0,
    }
    return Plan(
        name=name,
        version="test",
        options=Options("lan", checked=False),
        bits=64,
        frac=16,
        roles=("client", "modeller"),
        array_roles=(),
        dims=(("batch", batch),),
        inputs=(Tensor("x", "client", "int", (batch, wide), ("batch", ""), -1000.0, 1000.0, False, ("run",)),),
        params=(Tensor("w", "modeller", "int", (wide, out), ("", ""), -1000.0, 1000.0, False, ("setup",)),),
        feeds=(
            Feed("x", "client", (batch, wide), source="x", **feed),
            Feed("w", "modeller", (wide, out), source="w", **feed),
        ),
        results=(Result("y", ("client",), "int", (batch, out), ("batch", ""), Domain.WORDS, 64, 0),),
        registers=tuple(registers),
        procedures=(
            Procedure("setup", False, True, (Kept(1, 1),), opening, (Round((0,), (1,), ()),)),
            Procedure("run", True, False, (), tuple(ops), tuple(rounds)),
        ),
        constants=(),
        origins=((Origin("w", 1, 1),) * 2, tuple(Origin(f"x @ w, op {i}", 3, 1) for i in range(len(ops)))),
        filename="linear.ppml",
    )
