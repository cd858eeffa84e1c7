"""What an operator, or the policy that stands for one, says to a plan that is to be served.

A plan is verified before anything of it is shown or kept: here, in a process that serves nobody, so that a plan made to
take a verifier's time or memory takes it from no one else.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import Error, InputError
from ..plan import Plan
from ..plan_file import load
from .catalogue import Catalogue

__all__ = ["approve", "main", "offered"]

WORDS = 2000  # of a refusal: the service reads them when this process has ended


def offered(catalogue: Catalogue, name: str) -> tuple[Plan, str]:
    """The verified plan of an offer, and who offers it. InputError when there is none, CompileError when it may not be
    executed."""
    offers = {offer.name: offer for offer in catalogue.offers()}
    if name not in offers:
        waiting = ", ".join(offers) or "none"
        raise InputError(
            f"{catalogue.folder}: no offer of the name {name!r} waits for approval; those that do: {waiting}"
        )
    return load(offers[name].path), offers[name].by


def approve(catalogue: Catalogue, name: str, plan: Plan) -> str:
    """Has the service serve the plan; the hash of the one that it replaces, if there is one. InputError for one that is
    served under another name, and for one that trains: its parameters would begin anew with each session."""
    if plan.trains:
        message = f"{plan.name} has a `train` block, and a service does not keep what was trained; use `mpcc party`"
        raise InputError(message)
    deployed = catalogue.deployed()
    if twins := [other for other, plan_hash in deployed.items() if plan_hash == plan.hash and other != name]:
        raise InputError(f"this plan is served already, as {twins[0]}")
    catalogue.approve(name, plan.to_bytes(), plan.hash)
    before = deployed.get(name, "")
    return before if before != plan.hash else ""


def main() -> None:
    """Approves an offer (folder and name are arguments) if the policy says so; what has come of it is printed."""
    catalogue, name = Catalogue(Path(sys.argv[1])), sys.argv[2]
    try:
        plan, by = offered(catalogue, name)
        if plan.hash not in catalogue.allowed():
            return
        approve(catalogue, name, plan)
        print(f"approved {name} of {by} ({plan.hash[:16]}), as the policy says")
    except Error as error:
        print(f"the plan that was offered as {name} is refused: {str(error)[:WORDS]}")
