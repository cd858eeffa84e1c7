"""The facade of range proofs: an owner's client has the compiler look at real weights before they are shared.

As in `program.py`, the compiler is imported when the function is called, so that parties and dealer run without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .program import Program

__all__ = ["prove"]


def prove(program: Program, params: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """The proof of the promises of a program's source, repeated with the parameters of these roles, by role and name.

    Raises InputError for promises that are certainly broken, and issues a PromiseWarning for those that stay unproved.
    """
    if any(claim.known == "provided" for claim in program.plan.claims):
        from compiler.calibration.promises import check_provided

        check_provided(program.plan, lambda: program.stages, params)
