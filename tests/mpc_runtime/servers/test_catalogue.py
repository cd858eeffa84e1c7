"""What a service keeps of plans: offers are bounded and run nothing, and only what was approved is deployed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mpc_runtime import compile
from mpc_runtime.errors import CompileError, InputError
from mpc_runtime.servers.approval import approve, offered
from mpc_runtime.servers.catalogue import OFFERS_AT_MOST, Catalogue
from tests.mpc_runtime.plans import linear
from tests.terminal import environment
from tests.trained import LOGISTIC

PLAN = linear()
DATA = memoryview(PLAN.to_bytes())


def test_an_offer_waits_until_it_is_approved(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    assert catalogue.offer("digits", DATA, "modeller") == ""
    assert catalogue.deployed() == {}
    plan, by = offered(catalogue, "digits")
    assert (plan.hash, by) == (PLAN.hash, "modeller")
    assert approve(catalogue, "digits", plan) == ""
    assert Catalogue(tmp_path).deployed() == {"digits": PLAN.hash} and not catalogue.offers()
    with pytest.raises(InputError, match="served already, as digits"):
        approve(catalogue, "other", plan)
    catalogue.remove("digits")
    assert Catalogue(tmp_path).deployed() == {}


def test_a_model_in_training_is_not_served(tmp_path: Path) -> None:
    """What was trained would be lost with a session, and the next one would begin anew without a word."""
    plan = compile(text=LOGISTIC).plan
    with pytest.raises(InputError, match="churn has a `train` block, and a service does not keep what was trained"):
        approve(Catalogue(tmp_path), "churn", plan)
    assert Catalogue(tmp_path).deployed() == {}


def test_what_may_not_be_executed_is_not_shown(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    catalogue.offer("digits", memoryview(b"no plan"), "modeller")
    with pytest.raises(CompileError, match="not a plan"):
        offered(catalogue, "digits")
    with pytest.raises(InputError, match="no offer of the name 'letters'"):
        offered(catalogue, "letters")


@pytest.mark.parametrize("name", ["", "../p1", "a/b", "A", ".hidden", "x" * 65, "a\0"])
def test_names_are_file_names(tmp_path: Path, name: str) -> None:
    catalogue = Catalogue(tmp_path / "data")
    assert "expected a name" in catalogue.offer(name, DATA, "modeller")
    with pytest.raises(InputError, match="expected a name"):
        catalogue.approve(name, bytes(DATA), PLAN.hash)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "offers", "plans"]


def test_offers_are_few_and_a_role_replaces_its_own_only(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    for i in range(OFFERS_AT_MOST):
        assert catalogue.offer(f"plan{i}", DATA, "modeller") == ""
    assert "wait for approval" in catalogue.offer("more", DATA, "modeller")
    assert catalogue.offer("plan3", DATA, "modeller") == ""
    assert "modeller has offered another plan" in catalogue.offer("plan3", DATA, "client")
    assert len(catalogue.offers()) == OFFERS_AT_MOST


def test_a_policy_approves_what_it_lists_and_nothing_else(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    catalogue.offer("digits", DATA, "modeller")
    policy = tmp_path / "policy.toml"
    for listed, deployed in (("0" * 64, {}), (PLAN.hash, {"digits": PLAN.hash})):
        policy.write_text(f'approve = ["{listed}"]\n')
        code = "from mpc_runtime.servers.approval import main; main()"
        subprocess.run([sys.executable, "-c", code, tmp_path, "digits"], env=environment(), check=True)
        assert catalogue.deployed() == deployed
    for wrong in ('approve = ["all"]', "approve = 1", 'aprove = ["x"]', "approve ="):
        policy.write_text(wrong)
        with pytest.raises(InputError, match=r"policy\.toml"):
            catalogue.allowed()


def test_a_half_written_deployment_is_none(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    approve(catalogue, "digits", PLAN)
    about = tmp_path / "plans" / "digits" / "about.json"
    for text in (b"", b'{"hash": "', b'{"hash": 3}', b'{"hash": "../../etc"}', b"[]"):
        about.write_bytes(text)
        assert catalogue.deployed() == {}
