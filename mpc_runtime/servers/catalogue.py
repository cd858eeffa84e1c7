"""The plans of a service on its disk: what was offered to it, and what its operator has approved.

    DATA/store.key              the key of what is stored here: a secret of this machine
    DATA/policy.toml            hashes of plans that need no other approval, if the operator has written it
    DATA/offers/NAME.plan       offered, by whoever may; nothing of it was believed or run
    DATA/offers/NAME.json       by whom, and what became of it
    DATA/plans/NAME/plan        approved: verified by the command that approved it
    DATA/plans/NAME/about.json  its hash; written last, so that a plan without it is none
    DATA/plans/NAME/params/     shares of parameters (`shelf.py`)

Whoever may write here decides what the machine computes. A service reads this folder again and again, so a command
needs no connection to it.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from ..errors import InputError
from .shelf import write_durably

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

__all__ = ["Catalogue", "Offer", "check_name"]

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
OFFERS_AT_MOST = 16
"""That wait for the operator; a new one then has to wait, so that they take a bounded room."""
_DIGITS = re.compile(r"[0-9a-f]{64}")


def check_name(name: str) -> str:
    """The name of a deployment; InputError unless it is one that a file may have everywhere."""
    if not NAME.fullmatch(name):
        raise InputError(f"{name[:80]!r}: expected a name of small letters, digits, - and _, at most 64 of them")
    return name


@dataclass(frozen=True)
class Offer:
    """A plan that waits for the operator. by: the role that has offered it."""

    name: str
    by: str
    path: Path


class Catalogue:
    """The folder of a service; it is made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offers, self._plans = folder / "offers", folder / "plans"
        try:
            for each in (folder, self._offers, self._plans):
                each.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise InputError(f"{folder}: cannot be used as a data folder: {error.strerror}") from None

    @property
    def key(self) -> Path:
        return self.folder / "store.key"

    # -- offers ---------------------------------------------------------------------------------------------------

    def offer(self, name: str, plan: memoryview, by: str) -> str:
        """Keeps an offer, in place of an earlier one of this name and role; why it cannot be kept, or nothing."""
        try:
            check_name(name)
        except InputError as error:
            return str(error)
        offers = {offer.name: offer for offer in self.offers()}
        if name in offers and offers[name].by != by:
            return f"{offers[name].by} has offered another plan as {name}, which waits for approval"
        if name not in offers and len(offers) >= OFFERS_AT_MOST:
            return f"{OFFERS_AT_MOST} offers wait for approval; offer again when the operator has seen to some"
        try:
            write_durably(self._offers / f"{name}.plan", lambda file: file.write(plan))
            self._note(self._offers / f"{name}.json", {"by": by})
        except OSError as error:
            return f"the plan cannot be stored: {error.strerror}"
        return ""

    def offers(self) -> list[Offer]:
        found = []
        for path in sorted(self._offers.glob("*.json")):
            name, plan = path.stem, path.with_suffix(".plan")
            about = _read(path)
            if NAME.fullmatch(name) and plan.exists() and isinstance(about.get("by"), str):
                found.append(Offer(name, about["by"], plan))
        return found

    def drop_offer(self, name: str) -> None:
        for suffix in ("json", "plan"):
            (self._offers / f"{name}.{suffix}").unlink(missing_ok=True)

    # -- plans ----------------------------------------------------------------------------------------------------

    def approve(self, name: str, plan: bytes, plan_hash: str) -> None:
        """Deploys a verified plan, in place of another one of this name, whose parameters go with it."""
        folder = self._plans / check_name(name)
        try:
            if (old := self.deployed().get(name)) is not None and old != plan_hash:
                self.remove(name)
            folder.mkdir(exist_ok=True, mode=0o700)
            write_durably(folder / "plan", lambda file: file.write(plan))
            self._note(folder / "about.json", {"hash": plan_hash})
        except OSError as error:
            raise InputError(f"{folder}: the plan cannot be stored: {error.strerror}") from None
        self.drop_offer(name)

    def remove(self, name: str) -> None:
        """Ends a deployment, and forgets its parameters."""
        folder = self._plans / check_name(name)
        (folder / "about.json").unlink(missing_ok=True)
        rmtree(folder, ignore_errors=True)

    def deployed(self) -> dict[str, str]:
        """Name -> hash of the plans that are approved."""
        found = {}
        for path in sorted(self._plans.glob("*/about.json")):
            told = _read(path).get("hash")
            if NAME.fullmatch(path.parent.name) and isinstance(told, str) and _DIGITS.fullmatch(told):
                found[path.parent.name] = told
        return found

    def plan_file(self, name: str) -> Path:
        return self._plans / name / "plan"

    def parameters(self, name: str) -> Path:
        return self._plans / name / "params"

    def allowed(self) -> frozenset[str]:
        """The hashes that the operator's policy approves; InputError when the policy cannot be read."""
        path = self.folder / "policy.toml"
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: {error}") from None
        listed = data.get("approve")
        if data.keys() - {"approve"} or not isinstance(listed, list) or not all(map(_is_hash, listed)):
            raise InputError(f'{path}: expected approve = ["…"], a list of hashes of plans, 64 digits each')
        return frozenset(listed)

    @staticmethod
    def _note(path: Path, about: dict[str, Any]) -> None:
        write_durably(path, lambda file: file.write(json.dumps(about).encode()))


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _DIGITS.fullmatch(value) is not None


def _read(path: Path) -> dict[str, Any]:
    """What a small JSON file says; nothing if it is none, as after a crash."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
