"""What a key may do, and how often: refused by name, counted where it was computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mpc_runtime as mpc
from mpc_runtime.errors import InputError
from mpc_runtime.servers.consent import Consent
from mpc_runtime.servers.members import DEPLOY, PROVIDE, RECEIVE, SUBMIT, USUAL, Member
from mpc_runtime.servers.spending import MEMORY, Spending
from mpc_runtime.servers.uses import AHEAD, Uses
from mpc_runtime.transport.identity import KeyPair, fingerprint

PLAN = mpc.compile(
    text="""model pair
role a, b, c
input x : [2] from a in [-1, 1]
param w : [2] from b in [-1, 1]
output y = x * w to a, c
"""
).plan
KEY, OTHER = KeyPair.generate().public, KeyPair.generate().public


def consent(member: Member, *more: Member) -> Consent:
    members = {KEY: member} | {KeyPair.generate().public: each for each in more}
    return Consent(PLAN, 0, members, Uses(), Spending(PLAN, 0, MEMORY))


@pytest.mark.parametrize(
    ("stage", "role", "right", "what"),
    [
        ("setup", "b", PROVIDE, "provide parameters"),
        ("run", "a", SUBMIT, "submit inputs"),
        ("run", "c", RECEIVE, "receive outputs"),
    ],
)
def test_a_right_that_is_missing_is_named(stage: str, role: str, right: str, what: str) -> None:
    assert consent(Member(role)).problem(stage, role, KEY, named=True) == ""
    assert consent(Member(role, frozenset({right}))).problem(stage, role, KEY, named=True) == ""
    others = (USUAL | {DEPLOY}) - {right}
    for may, allowed in (
        (others, " and ".join(r for r in (PROVIDE, SUBMIT, RECEIVE, DEPLOY) if r in others)),
        ((), "nothing"),
    ):
        found = consent(Member(role, frozenset(may), "ward 3")).problem(stage, role, KEY, named=True)
        assert found == f"ward 3 ({role}) may not {what}: p0's cluster.toml allows it to {allowed}"


def test_a_key_without_a_name_is_told_by_its_fingerprint() -> None:
    found = consent(Member("a", frozenset())).problem("run", "a", KEY, named=True)
    assert found.startswith(f"a, key {fingerprint(KEY)[:9]} may not")


def test_a_key_that_is_gone_or_speaks_for_another_role() -> None:
    assert "not in p0's cluster.toml any more" in consent(Member("a")).problem("run", "a", OTHER, named=True)
    assert "not in p0's cluster.toml any more" in consent(Member("b")).problem("run", "a", KEY, named=True)


def test_order_pairs_only_where_each_role_is_one_machine() -> None:
    assert consent(Member("a"), Member("c")).problem("run", "a", KEY, named=False) == ""
    found = consent(Member("a"), Member("c"), Member("c")).problem("run", "a", KEY, named=False)
    assert found.startswith("2 machines may speak for c at p0") and "agree on a name with c" in found
    several = consent(Member("a"), Member("c"), Member("c", frozenset({DEPLOY})), Member("b"), Member("b"))
    assert several.problem("run", "a", KEY, named=False) == ""  # of them, one takes part in runs


def test_queries_a_minute_come_back_evenly() -> None:
    member, uses = Member("a", queries_per_minute=3), Uses()
    assert [uses.count(KEY, member, 100.0) for _ in range(3)] == [""] * 3
    assert uses.count(KEY, member, 105.0) == "has made its 3 queries a minute; the next is taken in 15.0 s"
    assert uses.count(OTHER, member, 105.0) == ""
    assert uses.count(KEY, member, 120.1) == ""
    assert uses.count(KEY, member, 120.2) != ""
    assert [uses.count(KEY, member, 1e4) == "" for _ in range(5)] == [True] * 3 + [False] * 2
    assert uses.count(KEY, Member("a"), 1e4) == ""


def test_queries_in_all_count_what_was_computed() -> None:
    member, uses = Member("a", queries=2), Uses()
    assert uses.count(KEY, member, 0.0) == uses.count(KEY, member, 0.0) == ""
    assert uses.count(KEY, member, 0.0) == "has made 2 queries, as many as it may"
    uses.give_back(KEY)
    assert uses.count(KEY, member, 0.0) == ""
    assert uses.count(OTHER, member, 0.0) == ""


def test_parameters_are_no_queries() -> None:
    found = consent(Member("b", queries=1))
    assert [found.count("setup", KEY, 0.0) for _ in range(3)] == [""] * 3


def test_the_count_outlives_the_process(tmp_path: Path) -> None:
    member = Member("a", queries=5)
    first = Uses(tmp_path / "data")
    assert [first.count(KEY, member, 0.0) for _ in range(3)] == [""] * 3
    first.close()
    second = Uses(tmp_path / "data")
    assert [second.count(KEY, member, 0.0) == "" for _ in range(3)] == [True, True, False]


def test_after_a_crash_never_more_than_the_limit_and_few_are_lost(tmp_path: Path) -> None:
    member, made = Member("a", queries=100), 0
    for _ in range(3):  # each ends without `close`
        uses = Uses(tmp_path)
        made += sum(uses.count(KEY, member, 0.0) == "" for _ in range(20))
    last = Uses(tmp_path)
    made += sum(last.count(KEY, member, 0.0) == "" for _ in range(200))
    assert 100 - 3 * AHEAD <= made <= 100


def test_a_count_that_cannot_be_kept_stops_queries_that_have_a_limit(tmp_path: Path) -> None:
    uses = Uses(tmp_path / "data")
    (tmp_path / "data" / "queries.json").unlink()
    (tmp_path / "data").rmdir()
    (tmp_path / "data").write_text("a file")
    assert "the count cannot be kept" in uses.count(KEY, Member("a", queries=5), 0.0)
    assert uses.count(KEY, Member("a"), 0.0) == ""


@pytest.mark.parametrize("text", ["{", "[]", '{"k": -1}', '{"k": true}'])
def test_a_count_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "queries.json").write_text(text)
    with pytest.raises(InputError, match=r"queries\.json: "):
        Uses(tmp_path)


def test_what_is_written_names_keys_by_their_public_half(tmp_path: Path) -> None:
    uses = Uses(tmp_path)
    uses.count(KEY, Member("a", queries=5), 0.0)
    uses.close()
    assert json.loads((tmp_path / "queries.json").read_text()) == {KEY: 1}
