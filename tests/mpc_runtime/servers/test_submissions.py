"""The book of submissions: what is next is what both parties have, in p0's order, and nothing is kept for ever."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

import mpc_runtime as mpc
from mpc_runtime.servers.submissions import (
    AHEAD_AT_LEAST,
    AHEAD_AT_MOST,
    KEYS,
    Meeting,
    Submission,
    Submissions,
    client_quota,
)
from tests.mpc_runtime.plans import linear

PLAN = linear()
ROWS = 2  # of its batch


def held(at: float = 0.0, size: int = 16, meeting: Meeting = None, rows: int = ROWS) -> Submission:
    return Submission(1, memoryview(bytes(size)), at, meeting, rows=rows)


def book() -> Submissions:
    return Submissions(PLAN, 0)


@settings(max_examples=50, deadline=None)
@given(st.permutations([(here, i) for here in (True, False) for i in range(4)]), st.integers(0, 8))
def test_whatever_the_order_of_arrivals_p0_takes_its_first_that_both_have(arrivals: list, n: int) -> None:
    submissions = book()
    for t, (here, i) in enumerate(arrivals[:n]):
        key = ("run", "client", str(i))
        submissions.add(key, held(t)) if here else submissions.elsewhere(key, t)
    here = [i for at, i in arrivals[:n] if at]
    there = {i for at, i in arrivals[:n] if not at}
    both = [i for i in here if i in there]
    assert submissions.next("run") == ({"client": [str(both[0])]} if both else None)
    lone = {int(key[2]): since for key, since in submissions.lone().items()}
    assert lone == {i: t for t, (_, i) in enumerate(arrivals[:n]) if (i in here) != (i in there)}


PAIR = mpc.compile(
    text="""model pair
role a, b
input x : [2] from a in [-1, 1]
input q : [2] from b in [-1, 1]
output y = x * q to a
"""
).plan
MEETINGS = st.lists(st.sampled_from([None, ("m", 0), ("m", 1), ("n", 0)]), max_size=6)


@settings(max_examples=100, deadline=None)
@given(MEETINGS, MEETINGS, st.randoms(use_true_random=False))
def test_only_what_is_for_the_same_meeting_meets(ours: list[Meeting], theirs: list[Meeting], random: Random) -> None:
    submissions = Submissions(PAIR, 0)
    arriving = [("a", i, m) for i, m in enumerate(ours)] + [("b", i, m) for i, m in enumerate(theirs)]
    random.shuffle(arriving)
    order: dict[str, list[Meeting]] = {"a": [], "b": []}
    for role, i, meeting in arriving:
        submissions.add(("run", role, str(i)), held(rows=1, meeting=meeting))
        submissions.elsewhere(("run", role, str(i)), 0.0, meeting)
        order[role].append(meeting)
    met: list[Meeting] = []
    while (ids := submissions.next("run")) is not None:
        found = [submissions.drop(("run", role, number)) for role, (number,) in ids.items()]
        meetings = {each.meeting for each in found if each is not None}
        assert len(found) == 2 and len(meetings) == 1
        met += meetings
    both = Counter(ours) & Counter(theirs)
    assert Counter(met) == both
    first = [m for m in order["a"] if m in theirs]
    assert met[:1] == first[:1]


def test_p0_sees_when_a_meeting_has_two_names_or_two_submissions_of_a_role() -> None:
    submissions = Submissions(PAIR, 0)
    key, other, alone = (("run", "a", number) for number in ("1", "2", "3"))
    submissions.elsewhere(key, 0.0, ("m", 1))
    submissions.add(key, held(rows=1, meeting=("m", 0)))
    assert submissions.differs(key)
    submissions.drop(key)
    for each in (key, other):
        submissions.add(each, held(rows=1, meeting=("m", 0)))
        assert submissions.twin(each) is None  # only we have it
    submissions.elsewhere(other, 0.0, ("m", 0))
    assert submissions.twin(other) is None and not submissions.differs(other)
    submissions.elsewhere(key, 0.0, ("m", 0))
    assert submissions.twin(key) == other
    for number in ("4", "5"):
        submissions.add(("run", "b", number), held(rows=1))
        submissions.elsewhere(("run", "b", number), 0.0)
        assert submissions.twin(("run", "b", number)) is None  # those without a meeting have an order
    submissions.add(alone, held(rows=1, meeting=("n", 0)))
    assert submissions.next("run") is None


def test_of_parameters_the_newest_counts_and_replaces_the_older() -> None:
    submissions = book()
    for number in ("old", "lone", "new", "late"):
        submissions.add(("setup", "modeller", number), held(rows=1))
    assert submissions.superseded("setup", "modeller") == []
    for number in ("old", "new"):
        submissions.elsewhere(("setup", "modeller", number), 1.0)
    assert submissions.next("setup") == {"modeller": ["new"]}
    assert submissions.superseded("setup", "modeller") == [("setup", "modeller", n) for n in ("old", "lone")]


def test_parameters_that_no_execution_has_taken_are_seen() -> None:
    submissions = book()
    assert not submissions.renewed({})
    submissions.add(("run", "client", "1"), held())
    assert not submissions.renewed({})
    submissions.add(("setup", "modeller", "old"), held(rows=1))
    assert submissions.renewed({}) and not submissions.renewed({"setup": {"modeller": "old"}})
    submissions.add(("setup", "modeller", "new"), held(rows=1))
    assert submissions.renewed({"setup": {"modeller": "old"}})
    assert not submissions.renewed({"setup": {"modeller": "new"}})


def test_what_the_other_party_cannot_have_is_not_believed() -> None:
    submissions = book()
    assert not submissions.elsewhere(("run", "modeller", "1"), 0.0)
    assert not submissions.elsewhere(("never", "client", "1"), 0.0)
    most = AHEAD_AT_MOST * ROWS + KEYS
    assert all(submissions.elsewhere(("run", "client", str(i)), 0.0) for i in range(most))
    assert not submissions.elsewhere(("run", "client", "0"), 0.0)  # again
    assert not submissions.elsewhere(("run", "client", "one more"), 0.0)
    submissions.add(("run", "client", "here"), held())
    assert submissions.elsewhere(("run", "client", "here"), 1.0)
    submissions.drop(("run", "client", "0"))
    assert submissions.elsewhere(("run", "client", "one more"), 1.0)
    assert len(submissions.lone()) == most


def test_what_is_dropped_is_forgotten() -> None:
    submissions = book()
    key = ("run", "client", "a")
    submissions.add(key, held(size=7))
    assert submissions.problem(key, [16]).startswith("expected a new id")
    dropped = submissions.drop(key)
    assert dropped is not None and len(dropped.payload) == 7
    assert submissions.drop(key) is None
    assert submissions.drop(("nothing", "of", "ours")) is None
    assert not submissions.lone() and submissions.next("run") is None


def test_what_does_not_fit_the_plan_is_refused() -> None:
    for key, sizes, message in (
        (("run", "modeller", "a"), [16], "modeller has no part in 'run'"),
        (("start", "client", "a"), [16], "client has no part in 'start'"),
        (("run", "client", ""), [16], "expected a new id"),
        (("run", "client", "a"), [15], "client sent 15 bytes of shares, where the plan has 16 bytes"),
        (("run", "client", "a"), [], "client sent 0 frames"),
        (("run", "client", "a"), [16, 16], "client sent 2 frames"),
    ):
        assert message in book().problem(key, sizes)
    assert book().problem(("run", "client", "a"), [16]) == ""


def test_few_large_submissions_wait_and_many_small_ones() -> None:
    small, large = linear(), linear(batch=1 << 12, wide=1 << 12, out=1)
    assert Submissions(small, 1).ahead("run", "client") == AHEAD_AT_MOST * ROWS
    assert Submissions(large, 1).ahead("run", "client") == AHEAD_AT_LEAST << 12
    assert Submissions(large, 0).ahead("run", "client") == AHEAD_AT_MOST << 12  # p0 gets a seed
    assert Submissions(small, 1).ahead("setup", "modeller") == AHEAD_AT_MOST
    quota = client_quota(large, 1)
    assert quota.key_bytes >= quota.limits.payload >= 8 << 24


def test_keys_of_a_role_take_turns() -> None:
    submissions = book()
    for number, owner in (("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("b2", "b")):
        key = ("run", "client", number)
        submissions.add(key, replace(held(), key=owner))
        submissions.elsewhere(key, 1.0)
    served = []
    while (ids := submissions.next("run")) is not None:
        served += ids["client"]
        submissions.finish(("run", "client", served[-1]))
    assert served == ["a1", "b1", "c1", "a2", "b2", "a3"]


def left(submissions: Submissions, number: str, owner: str, rows: int) -> None:
    """A submission of so many rows, at both parties."""
    submissions.add(("run", "client", number), replace(held(rows=rows), key=owner))
    submissions.elsewhere(("run", "client", number), 1.0, rows=rows)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 8)), max_size=20))
def test_what_shares_a_run_has_room_in_it_and_nobody_is_passed_over(waiting: list[tuple[str, int]]) -> None:
    submissions = Submissions(linear(batch=8), 0)
    queues: dict[str, list[str]] = {}
    for number, (owner, rows) in enumerate(waiting):
        left(submissions, str(number), owner, rows)
        queues.setdefault(owner, []).append(str(number))
    passed: Counter[str] = Counter()
    while (group := submissions.next("run")) is not None:
        taken = group["client"]
        assert 1 <= sum(waiting[int(number)][1] for number in taken) <= 8
        assert submissions.may_share("run", group)
        owners = [waiting[int(number)][0] for number in taken]
        for number, owner in zip(taken, owners, strict=True):
            assert queues[owner].pop(0) == number  # of a key in their order
            submissions.finish(("run", "client", number))
        passed = Counter({owner: passed[owner] + 1 for owner in queues if queues[owner] and owner not in owners})
        assert max(passed.values(), default=0) <= len(queues)
    assert not any(queues.values())


def test_a_group_that_no_run_can_take_is_seen() -> None:
    submissions = book()
    for number, rows in (("1", 1), ("2", 1), ("3", 1), ("all", ROWS)):
        left(submissions, number, "a", rows)
    assert submissions.may_share("run", {"client": ["1", "2"]}) and submissions.may_share("run", {"client": ["all"]})
    for ids in ([], ["1", "2", "3"], ["1", "1"], ["1", "all"], ["1", "never"]):
        assert not submissions.may_share("run", {"client": ids})


def test_rows_must_be_the_same_at_both_parties() -> None:
    submissions = book()
    submissions.add(("run", "client", "1"), held(rows=1))
    submissions.elsewhere(("run", "client", "1"), 0.0, rows=2)
    assert submissions.differs(("run", "client", "1")) == "one number of rows to p0 and another to p1"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("aaaabc"), st.booleans()), max_size=600))
def test_room_is_shared_evenly_and_nobody_is_kept_out(coming: list[tuple[str, bool]]) -> None:
    """Clients leave what finds room, and now and then one of theirs is used."""
    submissions = Submissions(linear(batch=1), 0)
    here: dict[str, list[str]] = {}
    for number, (owner, leaves) in enumerate(coming):
        key = ("run", "client", str(number))
        if leaves and here.get(owner):
            submissions.drop(("run", "client", here[owner].pop()))
            continue
        others = [client for client in here if client != owner and here[client]]
        room = submissions.has_room(key, owner, 1)
        assert room or here.get(owner), "whoever has nothing here gets in"
        if not others:
            assert room == (len(here.get(owner, ())) < AHEAD_AT_MOST)
        if room:
            submissions.add(key, replace(held(rows=1), key=owner))
            here.setdefault(owner, []).append(str(number))
        assert sum(map(len, here.values())) < AHEAD_AT_MOST + len(here)


def test_when_a_session_begins_anew_nothing_is_known_of_the_other_party() -> None:
    submissions = book()
    for number in ("used", "kept"):
        submissions.add(("run", "client", number), held())
        submissions.elsewhere(("run", "client", number), 1.0)
    submissions.elsewhere(("run", "client", "there"), 1.0)
    assert submissions.finish(("run", "client", "used")) is not None
    assert list(submissions.anew(2.0)) == [("run", "client", "kept")]
    assert submissions.next("run") is None and submissions.lone() == {("run", "client", "kept"): 2.0}
    submissions.elsewhere(("run", "client", "kept"), 3.0)
    assert submissions.next("run") == {"client": ["kept"]}
    assert submissions.finished(("run", "client", "used")) and not submissions.finished(("run", "client", "kept"))
