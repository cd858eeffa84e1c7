"""Cases of `test_operands.py` of gates that add noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from mpc_runtime import gates
from mpc_runtime.plan import Noise, Privacy, Result
from mpc_runtime.registers import Domain, Form
from tests.mpc_runtime.gates.operands import ADDITIVE, RING, SHAPES, Check, Operands, equals


def noisy(cls: type[gates.DealerNoise | gates.PartyNoise]) -> Callable[[Operands], Iterator[Check]]:
    """Noise so narrow that one number in exp(64) is not 0; `test_noise.py` has its law."""

    def case(o: Operands) -> Iterator[Check]:
        for number, (form, shape) in enumerate(product(ADDITIVE, SHAPES)):
            x, name = o.words(shape), f"noisy {number}"
            declared = Noise("laplace", 64.0, 0.0, 1.0, 0.0, proved=True, made_by=cls.made_by)
            o.b.results[name] = Result(
                name, ("reader",), "int", shape, ("",) * len(shape), Domain.WORDS, RING, 0, (), declared
            )
            scale = {"law": "laplace", "numerator": 1, "denominator": 64}
            y = o.b.emit(cls, shape, RING, result_name=name, **scale, x=o.lay(form, x))
            there = o.b.registers[y].form is Form.SHARED
            shared = y if there else o.b.emit(gates.Materialize, shape, RING, x=y)
            o.b.act(gates.Reveal, result_name=name, roles=("reader",), bits=RING, x=shared)
            yield equals(shared, x)

    return case


def noisy_gradient(o: Operands) -> Iterator[Check]:
    """Noise as narrow as that."""
    o.b.privacy = Privacy(2.0**-7, 1.0, 1e-5, 4, 16, 1.0, 0.0)
    for form, shape in product(ADDITIVE, SHAPES):
        x = o.words(shape)
        y = o.b.emit(gates.GradientNoise, shape, RING, numerator=1, denominator=64, x=o.lay(form, x))
        yield equals(o.b.emit(gates.Materialize, shape, RING, x=y), x)
