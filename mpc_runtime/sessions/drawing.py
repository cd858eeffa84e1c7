"""Private training at a session: whether its rows can be drawn so that nobody else knows which, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..plan import Plan, Privacy
from ..privacy.accountant import Training, expect_installed, training
from ..procedure import TRAIN_STEP
from ..roles.draws import Draws

__all__ = ["Drawn", "expect_drawn", "expect_fit"]


@dataclass(frozen=True)
class Drawn:
    """The draws of a call so far."""

    privacy: Privacy
    draws: Draws

    def cost(self, resumed: int) -> Training:
        """resumed: steps that another call has made, whose draws are not known."""
        p, drawn = self.privacy, self.draws.drawn
        most = None if resumed else int(drawn.max())
        return training(drawn.size, p.batch, p.noise, resumed + self.draws.made, p.delta, most)


def expect_drawn(plan: Plan, roles: Sequence[str], seed: int | None) -> None:
    """InputError where these roles of a session cannot draw rows in secret, or nobody could say what that costs."""
    expect_installed()
    if seed is not None:
        raise InputError("seed: under `privacy` rows are drawn at random, and whoever could tell them would learn more")
    owners = [role for role in plan.roles_of(TRAIN_STEP) if plan.feeds_of(role, TRAIN_STEP)]
    if not set(owners) <= set(roles):
        raise InputError(
            f"{' and '.join(owners)} give rows of the same batches, and under `privacy` one session draws them: train "
            "with one owner of rows, or from a session that has all of these roles"
        )


def expect_fit(plan: Plan) -> None:
    """InputError for a single step, where rows are drawn."""
    if plan.privacy is not None:
        raise InputError("under `privacy` the rows of a step are drawn from all: give all of them to fit")
