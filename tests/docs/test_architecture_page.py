"""The worked example of the architecture page: every sum and product printed there is right modulo 256."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
EXAMPLE = PAGE[PAGE.index("## Two numbers multiplied") : PAGE.index("## Shared and masked values")]
EQUATION = re.compile(r"((?:− *)?\d+(?: *[·+−] *\d+)+) *= *(\d+)")


def test_every_equation_holds() -> None:
    equations = EQUATION.findall(EXAMPLE)
    assert len(equations) >= 13
    for left, right in equations:
        terms = [term.split("·") for term in left.replace(" ", "").replace("−", "+-").strip("+").split("+")]
        total = sum(int(term[0]) * (int(term[1]) if len(term) == 2 else 1) for term in terms)
        assert (total - int(right)) % 256 == 0, f"{left} = {right}"
