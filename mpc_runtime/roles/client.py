"""One role: checks and encodes what it owns, shares it with both parties, and rebuilds what it is sent.

Nothing is sent before all of a submission has been checked, so an `InputError` leaves the session as it was. The
parties decide which submissions form a run, and in which order (`servers/party.py`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..analysis.rows import rows_apart
from ..encoding.fixed_point import check, check_norm, encode
from ..encoding.sharing import rebuild, result_size, split
from ..errors import BudgetError, InputError, MaterialError, PeerError
from ..execution.stats import OP_BYTES
from ..limits import WAIT_SECONDS
from ..plan import FORMAT, Feed, Plan, Tensor
from ..privacy.ledger import Limit, Spent
from ..transport.address import clients_of
from ..transport.call import GLANCE_SECONDS, Call, drive
from ..transport.hello import Hello, new_nonce
from ..transport.identity import KeyPair
from ..transport.line import Limits
from ..transport.messages import PARTY_TO_CLIENT, TOGETHER, Message
from ..transport.messages import encode as encode_message
from .answers import Parts, Sent, apart_of

__all__ = ["Answer", "Prepare", "RoleClient", "check_tensors", "encode_feeds", "tensors_of"]

Array = np.ndarray
Prepare = Callable[[Plan, Feed, Mapping[str, Array]], Array]
"""Computes a feed's expression from its owner's checked tensors, in float64; InputError when a promise is broken."""

PARTIES = ("p0", "p1")
ID_BYTES = 16
TOLD_SECONDS = 1.0  # after which p0 has told that a run of one role has begun, if there is no result before
ERROR_BYTES = 1 << 18  # of a message's JSON, beside the names of results


@dataclass(frozen=True)
class Answer:
    """What a role gets for one run: its results, both parties' reports, and its payload bytes."""

    results: Mapping[str, Array]
    reports: tuple[Message, Message]
    client_bytes: int


def tensors_of(plan: Plan, role: str, stage: str) -> tuple[Tensor, ...]:
    """What a role gives for a procedure."""
    given = (t for t in (*plan.inputs, *plan.params) if t.role == role and stage in t.stages)
    return tuple(plan.sized(t, stage) for t in given)


def check_tensors(
    plan: Plan, tensors: Sequence[Tensor], values: Mapping[str, Any], many: str = ""
) -> tuple[dict[str, Array], list[str]]:
    """The values by name, checked against shape, kind and range; and all that is wrong with them, a line each.
    many: as of `shape_problem`."""
    checked: dict[str, Array] = {}
    problems = []
    parameters = {t.name for t in plan.params}
    for t in tensors:
        try:
            label = f"{t.name} of {t.role}" if t.role in plan.array_role_of else t.name
            contract = t.kind, t.shape, t.lo, t.hi, plan.frac, t.dims
            checked[t.name] = check(label, values[t.name], *contract, measured=t.name not in parameters, many=many)
            if t.norm is not None:
                check_norm(label, checked[t.name], t.norm, plan.frac)
        except InputError as error:  # noqa: PERF203  # all problems are wanted
            problems.append(str(error))
    return checked, problems


def encode_feeds(
    plan: Plan, role: str, stage: str, checked: Mapping[str, Array], prepare: Prepare
) -> tuple[dict[str, Array], list[str]]:
    """Ring elements of a role's feeds of a stage from all of its checked tensors so far; and what is wrong."""
    encoded: dict[str, Array] = {}
    problems = []
    for feed in plan.feeds_of(role, stage):
        try:
            array = prepare(plan, feed, checked) if feed.expression else checked[feed.source]
            encoded[feed.name] = encode(array, feed.scale)
        except InputError as error:  # noqa: PERF203
            problems.append(str(error))
        except KeyError as error:  # a run's expression that reads parameters
            problems.append(
                f"{error.args[0]}: an input is prepared with it; provide the parameters in this session too"
            )
    return encoded, list(dict.fromkeys(problems))  # one promise may be broken on the way to several feeds


class RoleClient:
    """The connections of one role to both parties. Results come in the order of submissions. Used by one thread at a
    time; what is to be sent and heard moves while one of its calls waits."""

    def __init__(
        self,
        plan: Plan,
        role: str,
        keys: KeyPair,
        addresses: Mapping[str, str],
        server_keys: Mapping[str, str],
        timeout: float,
        alive: Callable[[], None] = lambda: None,
        wait: float = WAIT_SECONDS,
        origins: Mapping[str, str] | None = None,
    ) -> None:
        """Connects and waits for both parties' welcome; PeerError after `timeout` seconds or with another plan.

        addresses: those for clients, under the names of `clients_of`; origins: where they were written.
        wait: seconds that the other roles of a run may take. alive: called while waiting, then and later; may raise
        what else is known of the servers.
        """
        self.plan = plan
        self.role = role
        self._keys = keys
        self.apart = rows_apart(plan, "run")
        """Where rows lie of which a run may be given fewer than it has; None where it takes all of them."""
        self._parts = Parts(plan, role, self.apart)
        self._alive = alive
        self._wait = wait
        self._early: dict[str, dict[str, dict[str, Message]]] = {party: {} for party in PARTIES}  # by id and kind
        self._sent: dict[str, Sent] = {}  # what has no answer yet, by id
        self._forgotten: dict[str, Sent | None] = {}  # None: a question
        self._asked: set[str] = set()  # questions without an answer yet, by id
        self._joint: Sequence[tuple[RoleClient, str]] = ()  # what is submitted for the run that is waited for
        self._words: dict[str, str] = {}  # what a party has said of a submission that waits
        self.calls: dict[str, Call] = {}
        """By party."""
        self.beside: tuple[RoleClient, ...] = ()
        """Clients of other roles in this process, whose connections go on while this one waits."""
        hello = Hello(role, plan.hash, FORMAT)
        limits = _limits(plan, role)
        try:
            for party in PARTIES:
                where, origin = addresses[clients_of(party)], (origins or {}).get(clients_of(party), "")
                key, said = server_keys[party], hello.body(new_nonce())
                self.calls[party] = Call(party, where, keys, key, said, PARTY_TO_CLIENT, limits, origin)
            self._meet(timeout)
        except BaseException:
            self._leave()
            raise

    def _meet(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while missing := [call for call in self.calls.values() if not call.welcomed]:
            self._drive()
            if time.monotonic() > until:
                where = ", ".join(call.place for call in missing)
                raise PeerError(
                    f"no answer from {where} for {seconds:g} s: is it running, and is its key right?", missing[0].name
                )
        for call in self.calls.values():
            call.next()  # its welcome

    def _drive(self) -> None:
        """Waits a little for something of the parties; raises what has happened to one, or what else is known."""
        calls = [call for client in (self, *self.beside) for call in client.calls.values()]
        drive(calls, GLANCE_SECONDS)
        for call in calls:
            call.check("")
        self._alive()

    def submit(
        self,
        stage: str,
        encoded: Mapping[str, Array],
        meeting: str | None = None,
        run: int = 0,
        rows: int | None = None,
        dataset: str | None = None,
        training: Mapping[str, Any] | None = None,
        later: bool = False,
    ) -> str:
        """Shares the feeds of a stage with both parties; the number by which to ask for the answer.

        meeting: what the roles have agreed on, to be paired with their submissions for the same `run` of it. rows: how
        many of a run's rows these are, where rows are `apart`; the feeds may have more, which are not shared. dataset:
        what the parties' privacy ledgers call the data. training: which step this is for, as in messages. later: it
        may leave as late as this client next waits, together with others, which costs all machines less.
        """
        for call in self.calls.values():
            call.check("")
        number = os.urandom(ID_BYTES).hex()
        said: dict[str, Any] = {"kind": "submit", "stage": stage, "id": number}
        said |= {} if meeting is None else {"meeting": {"name": meeting, "run": run}}
        said |= {} if dataset is None else {"dataset": dataset}
        said |= {} if training is None else {"training": dict(training)}
        if rows is not None and self.apart is not None:
            said["rows"] = rows
            encoded = {name: _first(array, rows, self.apart.feeds[name]) for name, array in encoded.items()}
        payloads = split(self._parts.of(stage, rows).feeds, encoded)
        body = encode_message(said)
        for party, payload in zip(PARTIES, payloads, strict=True):
            self.calls[party].say(body, payload, later=later)
        self._sent[number] = Sent(stage, sum(p.size for p in payloads), meeting, rows)
        return number

    def wait_held(self, number: str) -> None:
        """Returns when both parties hold the parameters submitted under this number; PeerError after `wait` seconds."""
        until = time.monotonic() + self._wait
        for party in PARTIES:
            self._next(party, "held", number, until, f"{party} has not taken our parameters")
        del self._sent[number]
        self._drop(number)

    def wait_answer(self, number: str, joint: Sequence[tuple[RoleClient, str]] = ()) -> Answer:
        """Waits for a run: `wait` seconds for it to begin, then as long as it takes, while both parties live.

        joint: what other roles of this process have submitted for it, by client and number. BudgetError when any of it
        was denied.
        """
        self._joint = joint
        if self.plan.has_meetings:
            self._await_begun(number)
        messages = self._next("p0", "result", number), self._next("p1", "result", number)
        results = self._parts.of(self._sent[number].stage, self._sent[number].rows).results
        if not any(message.body["names"] for message in messages):
            results = ()  # the parties' cluster.toml does not let us receive them
        for party, message in zip(PARTIES, messages, strict=True):
            if len(message.payload) != len(results) + 1:
                raise PeerError(f"{party} sent no results, where the other party did", party)
        self._words.pop(number, None)
        self._drop(number)
        moved = self._sent.pop(number).nbytes + sum(len(p) for m in messages for p in m.payload[:-1])
        values = {r.name: rebuild(r, messages[0].payload[i], messages[1].payload[i]) for i, r in enumerate(results)}
        return Answer(values, messages, moved)

    def _await_begun(self, number: str) -> None:
        """Returns when the run has begun; PeerError after `wait` seconds."""
        if "begun" in self._early["p0"].get(number, ()):
            return
        others = " or ".join(role for role in self.plan.roles if role != self.role)
        meeting = self._sent[number].meeting
        what = f"for the same run of the meeting {meeting!r}" if meeting is not None else "without a meeting"
        late = (
            f"no run has begun with our inputs: a submission of {others} {what} is missing, or many other runs "
            "come first"
        )
        told = TOLD_SECONDS if len(self.plan.roles_of(self._sent[number].stage)) == 1 else 0.0
        self._next("p0", "begun", number, time.monotonic() + self._wait + told, late)

    def _next(self, party: str, kind: str, number: str, until: float = math.inf, late: str = "") -> Message:
        """The message of this kind about this submission; other messages are kept for later calls. PeerError, which
        says what is `late`, if it has not come by `until`."""
        call = self.calls[party]
        while True:
            if (found := self._found(party, kind, number)) is not None:
                return _granted(found)
            if (answer := call.next()) is not None:
                self._keep(party, answer)
                continue
            call.check("")
            self._drive()
            for client, other in self._joint:
                client.hear(other)
            if time.monotonic() > until:
                said = f" [{self._words[number]}]" if number in self._words else ""
                raise PeerError(f"after {self._wait:g} s {late}; our inputs are withdrawn{said}", party)

    def _found(self, party: str, kind: str, number: str) -> Message | None:
        """The message of this kind about this submission, or its denial, if it was kept."""
        kept = self._early[party].get(number, {})
        return kept.pop(kind, None) or kept.get("denied")

    def _drop(self, number: str) -> None:
        """Forgets what was kept about this submission or question."""
        for kept in self._early.values():
            kept.pop(number, None)

    def hear(self, number: str) -> None:
        """Takes what has arrived while another role of this process waits for a run; BudgetError when that run will not
        be, as this submission of ours for it was denied."""
        for party, call in self.calls.items():
            while (message := call.next()) is not None:
                self._keep(party, message)
            for message in self._early[party].get(number, {}).values():
                _granted(message)

    def _keep(self, party: str, message: Message) -> None:
        """Keeps a message for later, or tells it at once."""
        if message.kind == "word" and message.body["id"] in self._sent:
            self._words[message.body["id"]] = f"{party}: {message.body['message']}"
            warnings.warn(self._words[message.body["id"]], RuntimeWarning, stacklevel=2)
        elif "ids" in message.body:
            sent = [self._sent.get(number) or self._forgotten.get(number) for number in message.body["ids"]]
            for number, each in apart_of(self._parts, message, sent):
                if number in self._sent:
                    self._early[party].setdefault(number, {}).setdefault(message.kind, each)
        elif (asked := message.body.get("id", "")) in self._sent or asked in self._asked:
            self._early[party].setdefault(asked, {}).setdefault(message.kind, message)
        elif asked not in self._forgotten:
            raise PeerError(f"{party} sent {message.kind!r} for something that we have not submitted", party)

    def ask_spent(self, dataset: str, limit: Limit | None = None, parties: Sequence[str] = PARTIES) -> list[Spent]:
        """What each party's ledger says of a dataset of ours, after this limit was added to it.

        InputError from a party that keeps none. An answer also says that all that we have said before is done.
        """
        stated = {} if limit is None else {"limit": {"epsilon": limit.epsilon, "delta": limit.delta}}
        told = self._ask({"kind": "budget", "dataset": dataset, **stated}, "spent", "what is spent", parties)
        return [_spent(message) for message in told]

    def ask_training(self, said: Mapping[str, Any]) -> list[Message]:
        """How far each party is with the training, and what it knows of a checkpoint, a meeting and a decision, as in
        messages. InputError from a party that keeps no checkpoints."""
        return self._ask({"kind": "trained", **said}, "progress", "how far the training is", PARTIES)

    @property
    def patience(self) -> float:
        """Seconds that other roles may take."""
        return self._wait

    def _ask(self, body: Mapping[str, Any], kind: str, what: str, parties: Sequence[str]) -> list[Message]:
        """The answers of this kind to a question; InputError when one is denied."""
        number = os.urandom(ID_BYTES).hex()
        for party in parties:
            self.calls[party].say({**body, "id": number})
        self._asked.add(number)
        until = time.monotonic() + self._wait
        try:
            told = [self._next(party, kind, number, until, f"{party} has not told {what}") for party in parties]
        except BudgetError as error:
            self._forgotten[number] = None
            raise InputError(str(error)) from None
        finally:
            self._asked.discard(number)
            self._drop(number)
        return told

    def name_of(self, data: Mapping[str, Array]) -> str:
        """What we call these arrays: equal for equal ones, and nobody without our secret key can tell more of them."""
        name = hmac.new(self._keys.secret.encode(), b"rows of training\0", hashlib.sha256)
        for key in sorted(data):
            array = np.ascontiguousarray(data[key])
            name.update(json.dumps([key, array.dtype.str, array.shape]).encode())
            name.update(array.data if array.size else b"")
        return name.hexdigest()

    def settle(self) -> None:
        """Returns when both parties have dropped all that we have withdrawn, and given back what it was charged."""
        with suppress(InputError):
            self.ask_spent("")

    def forget(self, number: str, *, withdraw: bool) -> None:
        """Drops the answer to this submission when it comes. withdraw: take the submission back, if its run has not
        begun."""
        if number not in self._sent:
            return
        if withdraw:
            self._withdraw(number)
        self._forgotten[number] = self._sent.pop(number)
        self._words.pop(number, None)
        self._drop(number)

    def close(self) -> None:
        """Withdraws what has not been answered, and disconnects. Closing again does nothing."""
        for number in self._sent:
            self._withdraw(number)
        self._sent = {}
        self._leave()

    def _leave(self) -> None:
        for call in self.calls.values():
            call.close()

    def _withdraw(self, number: str) -> None:
        for call in self.calls.values():
            with suppress(PeerError, MaterialError):
                call.say({"kind": "withdraw", "stage": self._sent[number].stage, "id": number})


def _first(array: Array, rows: int, axis: int) -> Array:
    """The first rows of an array."""
    return array if array.shape[axis] == rows else array.take(range(rows), axis)


def _granted(message: Message) -> Message:
    """The message; BudgetError when it is a denial."""
    if message.kind == "denied":
        raise BudgetError(message.body["message"])
    return message


def _spent(message: Message) -> Spent:
    body = message.body
    limits = tuple(Limit(float(each["epsilon"]), float(each["delta"])) for each in body["limits"])
    epsilon = math.inf if body["epsilon"] is None else float(body["epsilon"])
    return Spent(epsilon, float(body["delta"]), body["by"], limits)


def _limits(plan: Plan, role: str) -> Limits:
    """Of what a party may send this role at once: its results of an execution, where each submission's begin a byte of
    their own, and a report."""
    results = plan.results_of(role)
    names = sum(len(json.dumps(result.name)) + 2 for result in results)
    report = max(OP_BYTES * len(procedure.ops) for procedure in plan.procedures)
    most = sum(result_size(result) + TOGETHER for result in results) + report
    return Limits(ERROR_BYTES + names, len(results) + 1, most)
