"""Every word of a stream is used once: whole models under the check, and gates that break the rule on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_runtime import compile, registers
from mpc_runtime.execution.dealer import DealerExecutor
from mpc_runtime.execution.once import AtWork, Ledger, Once, UsedTwice
from mpc_runtime.execution.party import PartyExecutor
from mpc_runtime.gates import BitToWord, Square, base, opening
from mpc_runtime.gates.contexts import DealerContext, PartyContext
from mpc_runtime.gates.streams import PURPOSE_MASK, PURPOSE_OUTPUT, PURPOSE_SHARE, stream
from tests.loaded import loaded
from tests.machines import both, run_plan
from tests.memory_channel import channel_pair, material_pipe
from tests.models_in_memory import all_models
from tests.plans_by_hand import Builder
from tests.security.broken import BROKEN, MaskOfOneElement
from tests.traced import random_shares, split
from tests.zoo import data

Array = np.ndarray
U = np.uint64
MODELS = dict(all_models())
X = np.arange(40, dtype=U)
BITS = (X & U(1)).astype(np.uint8)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_uses_every_word_once(name: str) -> None:
    """In setup and several runs, with the work that is done ahead; and it computes what it computes without."""
    plan = compile(text=MODELS[name]).plan
    checked = run_plan(plan, *data(plan), runs=3, preprocess=True, once=True).results
    usual = run_plan(plan, *data(plan), runs=3).results
    assert checked.keys() == usual.keys()
    assert all(np.array_equal(checked[result], usual[result]) for result in usual)


@pytest.mark.parametrize("name", ["wide relu", "small lenet"])
def test_words_are_counted_across_tiles(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (registers, base, opening):
        monkeypatch.setattr(module, "TILE", 512)
    plan = compile(text=MODELS[name]).plan
    run_plan(plan, *data(plan), runs=2, once=True)


# -- planted faults -----------------------------------------------------------------------------------------------


def executed(b: Builder, receiver: int, times: int = 1, once: bool = True) -> None:
    """The second procedure of a plan by hand, `times` times under the same keys."""
    plan = loaded(b.plan(receiver))
    channels = channel_pair()
    dealer = DealerExecutor(plan, once=once)
    parties = [PartyExecutor(plan, i, channels[i], once=once) for i in (0, 1)]
    keys = bytes(range(16)), bytes(range(16, 32))
    for _ in range(times):
        pipes = [material_pipe() for _ in (0, 1)]
        dealer.execute("run", keys, (pipes[0][0], pipes[1][0]))
        shares = split(plan, plan.procedure("run"), b.values["run"], random_shares(0))
        both(parties, channels, "run", keys, (pipes[0][1], pipes[1][1]), shares)


def caught(make: Callable[[Builder], None], plain: bool = True) -> set[str]:
    """What is said, with the corrections going to either party. plain: also execute it without the check."""
    found = set()
    for receiver in (0, 1):
        b = Builder()
        make(b)
        if plain:
            executed(b, receiver, once=False)  # without the check nobody notices
        try:
            executed(b, receiver)
        except UsedTwice as error:
            found.add(str(error))
    return found


def test_one_mask_for_two_values_is_caught() -> None:
    def make(b: Builder) -> None:
        BROKEN["one mask for two values"](b, X % 8, X % 8)

    (found,) = caught(make)
    assert found == "run op 3 (seconduse) uses words of the mask of run op 2 (open), which are for that op alone"


def test_one_word_for_all_elements_is_caught() -> None:
    def make(b: Builder) -> None:
        b.emit(MaskOfOneElement, X.shape, 8, x=b.input(X, 8))

    (found,) = caught(make)
    assert found == "bytes 0 to 8 of the stream for the mask of run op 1 (maskofoneelement) are used a second time"


def test_one_pad_for_an_opening_and_a_correction_is_caught() -> None:
    def make(b: Builder) -> None:
        BROKEN["one pad for an opening and a correction"](b, X % 2, X % 8)

    (found,) = caught(make)
    assert found == ("run op 4 (padofanopening) uses words of the mask of run op 3 (open), which are for that op alone")


@dataclass(frozen=True)
class ReceivedTwice(BitToWord):
    """The party that is sent the correction asks for it a second time."""

    def evaluate(self, p: PartyContext) -> None:
        super().evaluate(p)
        if not p.seeded:
            super().evaluate(p)


@dataclass(frozen=True)
class DealtTwice(BitToWord):
    """Two corrections of one secret, under the same words."""

    def deal(self, d: DealerContext) -> None:
        super().deal(d)
        super().deal(d)


@dataclass(frozen=True)
class Displaced(BitToWord):
    """Words of its half are read as those of other elements."""

    def evaluate(self, p: PartyContext) -> None:
        super().evaluate(p)
        if p.seeded:
            p.secret(0, 4, 8)


@dataclass(frozen=True)
class HalfAgain(BitToWord):
    """The half of the same elements, which is no second use."""

    def evaluate(self, p: PartyContext) -> None:
        super().evaluate(p)
        if p.seeded:
            super().evaluate(p)


@dataclass(frozen=True)
class SecretOfAnother(BitToWord):
    """Uses the words of another op's secret beside its own, as that op."""

    other: int

    def evaluate(self, p: PartyContext) -> None:
        super().evaluate(p)
        if p.seeded:
            p.prg.words(stream(PURPOSE_SHARE, self.other), 8)


@dataclass(frozen=True)
class MaskOfAnother(Square):
    """Reads the words of an opening that is not among its operands, past the executor."""

    other: int

    def evaluate(self, p: PartyContext) -> None:
        super().evaluate(p)
        p.prg.words(stream(PURPOSE_MASK, self.other), 8)


@dataclass(frozen=True)
class ItsMaskByHand(Square):
    """The same through the context, which expands the same share of the same wire again: no second use."""

    other: int

    def wants_mask(self, register: int, types: base.Types) -> bool:
        return True

    def evaluate(self, p: PartyContext) -> None:
        super().evaluate(p)
        for _ in range(3):
            p.mask(self.x)
            p.mask_words(self.x, 0, 8)
            p.unmasked(self.x)


def of_bits(cls: type[BitToWord]) -> Callable[[Builder], None]:
    def make(b: Builder) -> None:
        b.emit(cls, BITS.shape, 8, d=b.wire(BITS))

    return make


def test_a_secret_that_is_dealt_received_or_read_twice_is_caught() -> None:
    assert caught(of_bits(DealtTwice), plain=False) == {
        "bytes 0 to 320 of the stream for secret 0 of run op 2 (dealttwice) are used a second time"
    }
    assert caught(of_bits(Displaced)) == {
        "bytes 32 to 96 of the stream for secret 0 of run op 2 (displaced) are used a second time"
    }
    for receiver in (0, 1):
        b = Builder()
        of_bits(ReceivedTwice)(b)
        with pytest.raises(
            UsedTwice, match=r"^elements 0 to 40 of secret 0 of run op 2 \(receivedtwice\) are received"
        ):
            executed(b, receiver)


def test_the_words_of_another_op_are_not_for_this_one() -> None:
    def secret(b: Builder) -> None:
        wire = b.wire(BITS)
        b.emit(BitToWord, BITS.shape, 8, d=wire)
        b.emit(SecretOfAnother, BITS.shape, 8, d=wire, other=2)

    def mask(b: Builder) -> None:
        b.wire(X, 8)
        b.emit(MaskOfAnother, X.shape, 8, x=b.wire(X, 8), other=1)

    assert caught(secret) == {
        "run op 3 (secretofanother) uses words of secret 0 of run op 2 (bittoword), which are for that op alone"
    }
    (found,) = caught(mask)
    assert "(maskofanother) uses words of the mask of run op" in found


def test_a_share_of_a_mask_or_a_secret_may_be_expanded_again() -> None:
    def make(b: Builder) -> None:
        b.emit(ItsMaskByHand, X.shape, 8, x=b.wire(X, 8), other=1)

    assert caught(make) == caught(of_bits(HalfAgain)) == set()


def test_a_key_serves_one_execution() -> None:
    b = Builder()
    b.wire(X, 8)
    executed(b, 0, times=2, once=False)
    with pytest.raises(UsedTwice, match="the key of this execution was used for an earlier one"):
        executed(b, 0, times=2)


# -- the ledger ---------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8)), max_size=30))
def test_a_ledger_knows_what_was_used(uses: list[tuple[int, int]]) -> None:
    """Against a set of the bytes."""
    ledger, used = Ledger(AtWork(op=5), str, halves=False), set[int]()
    for first, n in uses:
        new = set(range(first, first + n))
        if new & used:
            with pytest.raises(UsedTwice):
                ledger.use(stream(PURPOSE_SHARE, 5), first, first + n)
        else:
            ledger.use(stream(PURPOSE_SHARE, 5), first, first + n)
            used |= new


def test_streams_slots_and_keys_are_apart() -> None:
    at, once = AtWork(op=5), Once()
    ledgers = [once.ledger(bytes([i]) * 16, at, str, halves=False) for i in (0, 1)]
    for ledger in ledgers:
        for pad in (
            stream(PURPOSE_SHARE, 5),
            stream(PURPOSE_SHARE, 5, 1),
            stream(PURPOSE_OUTPUT, 5),
            stream(PURPOSE_MASK, 5),
        ):
            ledger.use(pad, 0, 8)
            with pytest.raises(UsedTwice, match=r"of 5 are used a second time$"):
                ledger.use(pad, 0, 8)
        at.mask = True
        ledger.use(stream(PURPOSE_MASK, 5), 0, 8)
        with pytest.raises(UsedTwice):
            ledger.use(stream(PURPOSE_SHARE, 5), 0, 8)
        at.mask = False
        ledger.receive(0, 0, 8)
        ledger.receive(1, 0, 8)
        with pytest.raises(UsedTwice, match="elements 7 to 9 of secret 0 of 5"):
            ledger.receive(0, 7, 2)
