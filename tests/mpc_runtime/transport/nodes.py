"""Servers' nodes in one process, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from mpc_runtime.errors import PeerError
from mpc_runtime.transport.hello import Hello
from mpc_runtime.transport.identity import KeyPair
from mpc_runtime.transport.messages import DEALER, PARTY, PARTY_TO_DEALER, Dialect
from mpc_runtime.transport.node import Node
from mpc_runtime.transport.records import PeerChannel
from tests.waiting import SECONDS

EXECUTION = 3
"""The one that `channel` is in."""


def dialect(listener: str, speaker: str) -> Dialect:
    if listener == "dealer":
        return PARTY_TO_DEALER
    return DEALER if speaker == "dealer" else PARTY


@contextmanager
def mesh(
    names: tuple[str, ...] = ("p0", "p1"),
    plans: dict[str, str] | None = None,
    by: Callable[[str], str] | None = None,
) -> Iterator[dict[str, Node]]:
    """Servers that listen and call each other, not yet met. by: the address at which p1 is to look for p0, from the one
    where it is.
    """
    keys = {name: KeyPair.generate() for name in names}
    with ExitStack() as stack:
        nodes = {}
        for name in names:
            nodes[name] = Node(Hello(name, (plans or {}).get(name, "plan"), 1), keys[name], 5.0)
            stack.callback(nodes[name].close)
            nodes[name].listen({keys[n].public: n for n in names if n != name})
        for name, node in nodes.items():
            for other in names:
                if other != name:
                    address = nodes[other].address
                    address = by(address) if by and (name, other) == ("p1", "p0") else address
                    node.connect(other, address, keys[other].public, dialect(name, other))
        yield nodes


def meet(nodes: dict[str, Node]) -> list[Exception]:
    """All nodes meet, each in a thread of its own; the errors they raise."""
    errors: list[Exception] = []

    def one(name: str, node: Node) -> None:
        try:
            node.meet([other for other in nodes if other != name], 20.0)
        except PeerError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=item) for item in nodes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def meet_in_vain(nodes: dict[str, Node]) -> Exception:
    """All nodes try to meet, each in a thread of its own, until one of them raises an error: that one."""
    errors: list[Exception] = []
    until = time.monotonic() + SECONDS

    def one(name: str, node: Node) -> None:
        others = [other for other in nodes if other != name]
        try:
            while not errors and node.missing(others, 0.1) and time.monotonic() < until:
                continue
        except PeerError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=item) for item in nodes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors[0]


def channel(node: Node, peer: str, execution: int = EXECUTION) -> PeerChannel:
    """A channel in an execution."""
    made = PeerChannel(node, peer)
    made.execution = execution
    return made
