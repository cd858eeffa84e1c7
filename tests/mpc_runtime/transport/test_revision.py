"""Keys at a front while it runs: those that come and go, and those that are refused."""

from __future__ import annotations

from mpc_runtime.transport import refusals
from mpc_runtime.transport.identity import KeyPair, fingerprint
from mpc_runtime.transport.refusals import Refusals
from tests.mpc_runtime.transport.fronts import ALICE, BOB, NAMES, calling, ended, fronted, heard, reached
from tests.waiting import until


def test_a_key_that_is_revoked_loses_its_connections_at_once_and_others_keep_theirs() -> None:
    with fronted() as front, calling(front, ALICE) as alice, calling(front, BOB) as bob:
        reached(front, alice)
        reached(front, bob)
        front.revise({BOB.public: "bob"}, ())
        assert ended(alice) == "alice: what this key may do was changed or revoked"
        bob.say({"kind": "withdraw", "stage": "run", "id": "7"})
        assert heard(front, bob).sender == "bob"
        with calling(front, ALICE) as again:
            assert "does not accept our key" in ended(again)


def test_a_key_that_is_new_comes_in_and_one_with_fewer_rights_comes_anew() -> None:
    new = KeyPair.generate()
    with fronted() as front, calling(front, ALICE) as alice:
        reached(front, alice)
        front.revise({**NAMES, new.public: "carol"}, {ALICE.public})
        assert "was changed or revoked" in ended(alice)
        with calling(front, new) as carol, calling(front, ALICE) as again:
            assert reached(front, carol).sender == "carol"
            assert reached(front, again).key == ALICE.public


def test_a_key_that_speaks_for_another_now_comes_anew() -> None:
    with fronted() as front, calling(front, ALICE) as alice:
        reached(front, alice)
        front.revise({**NAMES, ALICE.public: "bob"}, ())
        assert "was changed or revoked" in ended(alice)


def test_refused_keys_are_counted_by_fingerprint_and_told() -> None:
    stranger = KeyPair.generate()
    shown = fingerprint(stranger.public)
    told: list[str] = []
    with fronted(told=told.append) as front:
        for _ in range(2):
            with calling(front, stranger) as call:
                assert "does not accept our key" in ended(call)
        until(lambda: front.refusals.counts[shown] == 2 and told)
        assert dict(front.refusals.counts) == {shown: 2}
    # the second came too soon for another line
    assert told == [f"refused keys that its cluster.toml does not list: {shown} (1 time)"]


def test_a_crowd_of_keys_takes_no_room_and_few_lines() -> None:
    told: list[str] = []
    found = Refusals(told.append)
    for _ in range(refusals.KEPT + 10):
        found.note(KeyPair.generate().public)
        found.tell(0.0)
    found.note("")
    found.tell(refusals.TELL_SECONDS)
    assert len(found.counts) == refusals.KEPT + 1 and found.counts[refusals.OTHERS] == 11
    assert len(told) == 2 and not found.pending
    assert f"{refusals.OTHERS} (11 times)" in told[1]
