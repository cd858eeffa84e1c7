"""Servers' nodes in one process, over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from mpc_runtime.errors import PeerError
from mpc_runtime.transport.curve import KeyPair
from mpc_runtime.transport.node import Hello, Node


@contextmanager
def mesh(
    names: tuple[str, ...] = ("p0", "p1"),
    plans: dict[str, str] | None = None,
    by: Callable[[str], str] | None = None,
) -> Iterator[dict[str, Node]]:
    """Servers that listen and are linked to each other, not yet met. by: the address at which p1 is to look for p0's
    stream, from the address where it is.
    """
    keys = {name: KeyPair.generate() for name in names}
    with ExitStack() as stack:
        nodes = {}
        for name in names:
            nodes[name] = Node(Hello(name, (plans or {}).get(name, "plan"), 1), keys[name], 5.0)
            stack.callback(nodes[name].close)
            nodes[name].listen("tcp://127.0.0.1:*", {keys[n].public: n for n in names if n != name}, {})
            nodes[name].open_stream()
        for name, node in nodes.items():
            for other in names:
                if other != name:
                    stream = by(nodes[other].stream_address) if by and (name, other) == ("p1", "p0") else ""
                    node.connect(other, nodes[other].address, keys[other].public, stream)
        yield nodes


def meet(nodes: dict[str, Node]) -> list[Exception]:
    """All nodes meet, each in a thread of its own; the errors they raise."""
    errors: list[Exception] = []

    def one(name: str, node: Node) -> None:
        try:
            node.meet([other for other in nodes if other != name], 5.0)
        except PeerError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=item) for item in nodes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors
