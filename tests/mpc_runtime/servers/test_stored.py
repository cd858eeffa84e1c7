"""What two parties agree on about their stores: no record is used twice, whatever is lost when; an older copy is
refused.

The two supplies are real, on real stores. The messages between them wait in queues, so that a test delivers or loses
them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime import MaterialError, PeerError
from mpc_runtime.procedure import Procedure
from mpc_runtime.servers import stored
from mpc_runtime.servers.stored import BLOCK, StoreSupply
from mpc_runtime.servers.supply import DealerSupply, UsedUp
from mpc_runtime.store.adding import add
from mpc_runtime.store.report import status
from mpc_runtime.store.store import Store
from mpc_runtime.transport.messages import PARTY, Message, encode, read
from tests.mpc_runtime.store.stored import PARTIES, PLAN, dealt
from tests.waiting import until

SETUP, RUN = PLAN.procedure("setup"), PLAN.procedure("run")


class Post:
    """A node that keeps what it is told to say; it has a name."""

    def __init__(self, name: str) -> None:
        self.hello = self
        self.name = name
        self.said: deque[Mapping[str, Any]] = deque()

    def say(self, machine: str, body: Mapping[str, Any]) -> None:
        assert machine != self.name
        self.said.append(body)


def arrived(sender: str, body: Mapping[str, Any]) -> Message:
    """What becomes of a message on its way."""
    return read(sender, 0, [memoryview(encode(body))], PARTY)


class Counted:
    """A refill that keeps what it is told is left."""

    sources = ()
    comes = False
    begun = False

    def __init__(self) -> None:
        self.left: list[int] = []

    def ask(self, left: int) -> None:
        self.left.append(left)

    def receive(self) -> bool:
        return False

    def taken(self) -> None:
        return None


class Pair:
    """Both parties' supplies on the stores in a folder, as after a start of both. `keys`: what either has derived."""

    def __init__(self, material: Path, begin: bool = True, refill: Counted | None = None) -> None:
        self.material = material
        self.refill = refill
        self.keys: tuple[list[bytes], list[bytes]] = [], []
        self.start(begin)

    def start(self, begin: bool = True) -> None:
        self.stores = [Store(self.material / name, PLAN, i) for i, name in enumerate(PARTIES)]
        self.posts = [Post(name) for name in PARTIES]
        self.supplies = [
            StoreSupply(PLAN, i, post, store, None if i else self.refill)  # type: ignore[arg-type]
            for i, (post, store) in enumerate(zip(self.posts, self.stores, strict=True))
        ]
        if begin:
            offers = [offer_of(supply) for supply in self.supplies]
            self.supplies[0].begin(offers[1])
            self.supplies[1].begin(offers[0])

    def close(self) -> None:
        for store in self.stores:
            store.close()

    def crash(self) -> None:
        """Both processes end; what was on the way is lost."""
        self.close()
        self.start()

    def deliver(self, sender: int) -> bool:
        """One message arrives; False when there is none."""
        if not self.posts[sender].said:
            return False
        body = self.posts[sender].said.popleft()
        assert self.supplies[1 - sender].hear(arrived(PARTIES[sender], body))
        return True

    def deliver_all(self) -> None:
        while self.deliver(0) or self.deliver(1):
            continue

    def key(self, party: int, index: int, procedure: Procedure) -> bytes:
        key = self.supplies[party].key(index, procedure)
        self.keys[party].append(key)
        return key

    def execute(self, procedure: Procedure) -> int:
        """As p0 and p1 do it, until it is complete; its record."""
        while (index := self.supplies[0].next_index(procedure)) is None:
            self.deliver_all()
        self.deliver_all()
        for party in (0, 1):
            self.key(party, index, procedure)
        for party in (0, 1):
            self.supplies[party].finished(index, procedure)
        return index


def offer_of(supply: StoreSupply | DealerSupply) -> dict[str, Any] | None:
    """What the other party is told, as it arrives there."""
    offer = supply.offer()
    if offer is None:
        return None
    parts = encode({"kind": "contribution", "offer": offer}), bytes(16)
    arrives: dict[str, Any] = read("p0", 0, list(map(memoryview, parts)), PARTY).body["offer"]
    return arrives


def uses(folder: Path, runs: int = 5, setups: int = 2) -> Pair:
    return Pair(dealt(folder, runs, setups))


# -- the order of things ----------------------------------------------------------------------------------------------


def test_a_key_is_derived_when_both_disks_have_passed_it(tmp_path: Path) -> None:
    pair = uses(tmp_path)
    assert pair.supplies[0].next_index(SETUP) is None
    for party in (0, 1):
        with pytest.raises(PeerError, match="which was not agreed on"):
            pair.supplies[party].key(0, SETUP)
    assert [store.next for store in pair.stores] == [1, 0]
    pair.deliver(0)
    assert [store.next for store in pair.stores] == [1, 1]
    with pytest.raises(PeerError, match="which was not agreed on"):
        pair.supplies[0].key(0, SETUP)  # p1 has passed it, but p0 does not know
    pair.supplies[1].key(0, SETUP)
    pair.deliver(1)
    assert pair.supplies[0].next_index(SETUP) == 0
    pair.supplies[0].key(0, SETUP)
    pair.close()


def test_a_setup_is_reserved_alone_and_runs_in_blocks(tmp_path: Path) -> None:
    pair = uses(tmp_path, runs=40, setups=1)
    assert pair.execute(SETUP) == 0
    assert [store.next for store in pair.stores] == [1, 1]
    assert [pair.execute(RUN) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert pair.stores[0].next == 5 + BLOCK  # asked for when half of the last one was used
    pair.close()


def test_nobody_waits_while_blocks_are_confirmed_ahead(tmp_path: Path) -> None:
    """What p0 asked for is confirmed within the time of half a block: `next_index` never says that it has to wait."""
    pair = uses(tmp_path, runs=60, setups=1)
    pair.execute(SETUP)
    pair.execute(RUN)
    for _ in range(50):
        index = pair.supplies[0].next_index(RUN)
        assert index is not None
        for party in (0, 1):
            pair.key(party, index, RUN)
            pair.supplies[party].finished(index, RUN)
        pair.deliver_all()
    pair.close()


def test_what_may_be_computed_ahead_is_agreed_on(tmp_path: Path) -> None:
    pair = uses(tmp_path)
    assert [supply.ahead(RUN) for supply in pair.supplies] == [None, None]
    pair.execute(SETUP)
    assert [supply.ahead(RUN) for supply in pair.supplies] == [None, None]
    pair.supplies[0].next_index(RUN)
    pair.deliver(0)
    assert [supply.ahead(RUN) for supply in pair.supplies] == [None, 1]
    pair.deliver(1)
    assert [supply.ahead(RUN) for supply in pair.supplies] == [1, 1]
    pair.close()


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["setup", "run", "p0 hears", "p1 hears", "p1 follows", "crash"]), max_size=40))
def test_no_record_is_used_twice_whatever_is_lost_when(steps: list[str]) -> None:
    """p0 begins what it may; p1 follows, or has not yet when both crash. No key is derived twice by either party, and
    no party is behind what the other has derived when it starts again."""
    with tempfile.TemporaryDirectory() as folder:
        pair = uses(Path(folder), runs=12, setups=3)
        begun: deque[tuple[int, Procedure]] = deque()
        used: tuple[list[int], list[int]] = [], []
        stands = False
        for step in steps:
            if step == "crash":
                pair.crash()
                begun.clear()
                stands = False
            elif step == "p0 hears":
                pair.deliver(1)
            elif step == "p1 hears":
                pair.deliver(0)
            elif step == "p1 follows":
                while begun and pair.deliver(0):
                    continue  # what p0 said before arrives before
                if begun:
                    index, procedure = begun.popleft()
                    pair.key(1, index, procedure)
                    used[1].append(index)
            else:
                procedure = PLAN.procedure(step)
                if step == "run" and not stands:
                    continue
                try:
                    next_ = pair.supplies[0].next_index(procedure)
                except UsedUp:
                    continue
                if next_ is not None:
                    pair.key(0, next_, procedure)
                    used[0].append(next_)
                    begun.append((next_, procedure))
                    pair.supplies[0].finished(next_, procedure)
                    stands = True
            lowest = max(supply.lowest for supply in pair.supplies)
            assert all(index < lowest for numbers in used for index in numbers)
        for party in (0, 1):
            assert len(set(pair.keys[party])) == len(pair.keys[party])
            assert used[party] == sorted(set(used[party]))
            assert all(index < store.next for index in used[party] for store in pair.stores)
        pair.close()


# -- dealings ---------------------------------------------------------------------------------------------------------


def test_runs_are_of_the_setup_that_stands(tmp_path: Path) -> None:
    pair = uses(tmp_path, runs=3, setups=3)
    assert [pair.execute(p) for p in (SETUP, RUN, RUN)] == [0, 1, 2]
    assert pair.execute(SETUP) == 4
    assert [pair.execute(RUN) for _ in range(3)] == [5, 6, 7]
    with pytest.raises(UsedUp, match="no record is left for run") as error:
        pair.supplies[0].next_index(RUN)
    assert error.value.renewable
    assert [pair.execute(p) for p in (SETUP, RUN, RUN, RUN)] == [8, 9, 10, 11]
    for procedure in (RUN, SETUP):
        with pytest.raises(UsedUp, match="deal more with `mpcc deal`") as error:
            pair.supplies[0].next_index(procedure)
        assert not error.value.renewable
    pair.close()


def test_a_crash_before_a_block_burns_no_setup_to_come(tmp_path: Path) -> None:
    pair = uses(tmp_path, runs=3, setups=3)
    pair.execute(SETUP)
    pair.execute(RUN)
    pair.crash()
    assert pair.execute(SETUP) == 4
    pair.close()


def test_runs_whose_setup_was_burnt_are_not_left(tmp_path: Path) -> None:
    """Else a party whose setup was interrupted would never ask the dealer for more."""
    counted = Counted()
    pair = Pair(dealt(tmp_path, runs=3, setups=2), refill=counted)

    def left() -> int:
        pair.supplies[0].receive()
        return counted.left[-1]

    def reported() -> list[int]:
        return [status(pair.material / name).left["run"] for name in PARTIES]

    assert left() == 6 and reported() == [6, 6]
    pair.execute(SETUP)
    pair.execute(RUN)
    assert left() == 5
    pair.crash()  # nothing was kept of the setup
    assert left() == 3 and reported() == [3, 3]
    pair.execute(SETUP)
    assert left() == 3
    pair.crash()
    assert left() == 0 and reported() == [0, 0]
    pair.close()


# -- what does not go together ----------------------------------------------------------------------------------------


def refused(pair: Pair, words: str) -> None:
    """Both parties refuse to begin, with these words."""
    offers = [offer_of(supply) for supply in pair.supplies]
    for party in (0, 1):
        with pytest.raises(MaterialError, match=words):
            pair.supplies[party].begin(offers[1 - party])
    pair.close()


def test_stores_of_two_dealings(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        dealt(tmp_path / name)
    shutil.rmtree(tmp_path / "one/material/p1")
    shutil.move(tmp_path / "two/material/p1", tmp_path / "one/material/p1")
    refused(Pair(tmp_path / "one/material", begin=False), "of two different dealings .* one `mpcc deal` made")


@pytest.mark.parametrize("party", [0, 1])
def test_one_party_with_a_dealer_and_one_without(tmp_path: Path, party: int) -> None:
    pair = Pair(dealt(tmp_path), begin=False)
    online = DealerSupply(PLAN, Post(PARTIES[1 - party]), None)  # type: ignore[arg-type]
    with pytest.raises(MaterialError, match="start both with --material, or both without"):
        pair.supplies[party].begin(online.offer())
    with pytest.raises(MaterialError, match="start both with --material, or both without"):
        online.begin(pair.supplies[party].offer())
    pair.close()


@pytest.mark.parametrize("party", [0, 1])
def test_a_copy_of_one_store_is_seen(tmp_path: Path, party: int) -> None:
    """Restored from before runs that both parties know to have been reserved."""
    pair = uses(tmp_path, runs=40)
    pair.execute(SETUP)
    pair.close()
    own = pair.material / PARTIES[party]
    shutil.copytree(own, tmp_path / "backup")
    pair.start()
    for procedure in (SETUP, RUN, RUN):
        pair.execute(procedure)
    pair.close()
    shutil.rmtree(own)
    shutil.move(tmp_path / "backup", own)
    pair.start(begin=False)
    refused(pair, f"{PARTIES[party]}'s store stands at record 1, though it stood at .* `mpcc store burn DIR --to ")


def test_a_party_that_was_killed_before_it_persisted_is_no_copy(tmp_path: Path) -> None:
    pair = uses(tmp_path, runs=40)
    pair.execute(SETUP)
    pair.supplies[0].next_index(RUN)  # p0 has passed a block, and p1 never hears of it
    assert [store.next for store in pair.stores] == [1 + BLOCK, 1]
    pair.crash()
    assert [supply.lowest for supply in pair.supplies] == [1 + BLOCK, 1 + BLOCK]
    pair.close()


def test_a_position_that_no_store_has_is_the_peers_fault(tmp_path: Path) -> None:
    pair = Pair(dealt(tmp_path), begin=False)
    offer = offer_of(pair.supplies[1])
    assert offer is not None
    for what in ("next", "confirmed"):
        with pytest.raises(PeerError, match="p1 sent a position"):
            pair.supplies[0].begin({**offer, what: 10**9})
    pair.close()


@pytest.mark.parametrize("sent", [0, 99])
def test_a_confirmation_that_nobody_asked_for_is_the_peers_fault(tmp_path: Path, sent: int) -> None:
    pair = uses(tmp_path)
    pair.supplies[0].next_index(SETUP)
    for party, receiver in ((1, 0), (0, 1)):
        with pytest.raises(PeerError, match=f"{PARTIES[party]} has persisted"):
            pair.supplies[receiver].hear(arrived(PARTIES[party], {"kind": "persisted", "next": sent}))
    pair.close()


# -- added material ---------------------------------------------------------------------------------------------------


def test_what_was_added_is_used_when_both_have_it(tmp_path: Path) -> None:
    pair = uses(tmp_path, runs=2, setups=1)
    for procedure in (SETUP, RUN, RUN):
        pair.execute(procedure)
    pair.close()
    (tmp_path / "more").mkdir()
    more = dealt(tmp_path / "more", runs=2)
    add(pair.material / "p0", more / "p0")
    pair.start()
    with pytest.raises(UsedUp) as error:
        pair.supplies[0].next_index(RUN)
    assert not error.value.renewable
    pair.close()
    add(pair.material / "p1", more / "p1")
    pair.start()
    assert [pair.execute(procedure) for procedure in (SETUP, RUN, RUN)] == [3, 4, 5]
    pair.close()


def test_a_dealing_that_the_dealer_began_with_one_party_only_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dealer died in between, and sends it to nobody again."""
    monkeypatch.setattr(stored, "BEHIND_SECONDS", 0.2)
    refill = Counted()
    pair = Pair(dealt(tmp_path, 2, 1), refill=refill)
    assert pair.supplies[0].patience is None
    pair.posts[1].say("p0", {"kind": "added", "dealing": "0" * 32})
    pair.deliver(1)
    assert 0 < pair.supplies[0].patience <= 0.2
    assert not pair.supplies[0].receive()
    refill.begun = True
    assert pair.supplies[0].patience is None  # it is coming
    refill.begun = False
    until(lambda: pair.supplies[0].patience == 0)
    with pytest.raises(PeerError, match="p1 has got material of the dealer that did not come here"):
        pair.supplies[0].receive()
    pair.close()


def test_what_was_added_in_another_order_is_refused(tmp_path: Path) -> None:
    material = dealt(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        dealt(tmp_path / name)
    for party, order in zip(PARTIES, (("one", "two"), ("two", "one")), strict=True):
        for name in order:
            add(material / party, tmp_path / name / "material" / party)
    refused(Pair(material, begin=False), "add the same material in the same order at both parties")
