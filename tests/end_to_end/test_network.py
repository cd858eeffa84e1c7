"""A deployment on machines of their own: network namespaces with their own addresses, names, and ports that others see
elsewhere than where a server listens.

Each machine is a network namespace behind a bridge. Where these cannot be made (they take root), tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.terminal import SERVERS, command, environment, mpcc
from tests.waiting import SECONDS, until

MODEL = """model outer
role client, modeller
input x : [3] from client in [-4, 4]
param w : [3] from modeller in [-4, 4]
output y = x * w to client
"""
W = np.array([1.0, -2.0, 0.5])
MACHINES = ("dealer", "p0", "p1", "modeller", "client")
V4, V6 = "10.77.0.{}", "fd77::{}"
SWITCH = "switch"
FIRST = 11  # the number of the first machine in addresses

RELAY = """
import asyncio, sys

async def carry(source, sink):
    while data := await source.read(1 << 16):
        sink.write(data)
        await sink.drain()
    sink.close()

async def taken(reader, writer):
    far = await asyncio.open_connection("127.0.0.1", int(sys.argv[3]))
    await asyncio.gather(carry(reader, far[1]), carry(far[0], writer), return_exceptions=True)

async def main():
    await (await asyncio.start_server(taken, sys.argv[1], int(sys.argv[2]))).serve_forever()

asyncio.run(main())
"""
"""Hands a port of an address on to another of the loopback."""


class Network:
    """Machines by name, each a namespace."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self.numbers = {name: FIRST + i for i, name in enumerate(MACHINES)}

    def space(self, machine: str) -> str:
        return f"{self._tag}-{machine}"

    def inside(self, machine: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.space(machine), *words]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=SECONDS)


@contextmanager
def network() -> Iterator[Network]:
    """Five machines on one bridge, which is in a namespace too, so that this machine is left as it is."""
    found = Network(f"mpc{os.getpid()}")
    with ExitStack() as stack:
        for machine in ("bridge", *MACHINES):
            ip("netns", "add", found.space(machine))
            stack.callback(ip, "netns", "del", found.space(machine))
        bridge = ("-n", found.space("bridge"))
        ip(*bridge, "link", "add", "name", SWITCH, "type", "bridge")
        ip(*bridge, "link", "set", "dev", SWITCH, "up")
        for machine, number in found.numbers.items():
            own = ("-n", found.space(machine))
            far = f"v{number}"
            ip(*own, "link", "add", "name", "eth", "type", "veth", "peer", "name", far, "netns", found.space("bridge"))
            ip(*bridge, "link", "set", "dev", far, "master", SWITCH, "up")
            ip(*own, "link", "set", "dev", "lo", "up")
            ip(*own, "link", "set", "dev", "eth", "up")
            ip(*own, "addr", "add", V4.format(number) + "/24", "dev", "eth")
            ip(*own, "addr", "add", V6.format(number) + "/64", "dev", "eth", "nodad")
        yield found


@pytest.fixture(scope="module")
def machines() -> Iterator[Network]:
    if shutil.which("ip") is None:
        pytest.skip("the program ip is not installed")
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("network namespaces take root")
    if problem := lacking():
        pytest.skip(f"no network namespaces with bridges here: {problem}")
    with network() as found:
        yield found


def lacking() -> str:
    """What the system says if it makes no namespace, or no bridge and pair of links in one."""
    probe = f"mpc{os.getpid()}-probe"
    try:
        ip("netns", "add", probe)
        try:
            ip("-n", probe, "link", "add", "name", SWITCH, "type", "bridge")
            ip("-n", probe, "link", "add", "name", "one", "type", "veth", "peer", "name", "two")
        finally:
            ip("netns", "del", probe)
    except subprocess.CalledProcessError as error:
        return str(error.stderr.decode().strip())
    return ""


@contextmanager
def serving(machines: Network, folder: Path) -> Iterator[None]:
    """The three servers, each on its machine, ready."""
    processes = {}
    try:
        for name, words in SERVERS.items():
            with (folder / f"{name}.log").open("w") as log:
                processes[name] = subprocess.Popen(
                    machines.inside(name, *command(*words, "outer.ppml")), cwd=folder, env=environment(), stderr=log
                )

        def ready() -> bool:
            for name, process in processes.items():
                assert process.poll() is None, (folder / f"{name}.log").read_text()
            return all(f"{name} is ready" in (folder / f"{name}.log").read_text() for name in processes)

        until(ready)
        yield
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def on(machines: Network, machine: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        machines.inside(machine, *command(*arguments)),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def deployment(folder: Path, hosts: Mapping[str, str]) -> Path:
    """A cluster.toml made of public keys, as administrators make it."""
    (folder / "outer.ppml").write_text(MODEL)
    keys = {name: mpcc(folder, "keygen", name).stdout.strip() for name in MACHINES}
    servers = [w for name in MACHINES[:3] for w in ("--server", f"{name}={hosts[name]}:7100,{keys[name]}")]
    roles = [w for name in MACHINES[3:] for w in ("--role", f"{name}={keys[name]}")]
    made = mpcc(folder, "init-cluster", "outer.ppml", *servers, *roles)
    assert made.returncode == 0, made.stderr
    return folder / "cluster.toml"


def assert_serves(machines: Network, folder: Path) -> None:
    np.save(folder / "w.npy", W)
    np.save(folder / "x.npy", np.full(3, 2.0))
    provided = on(machines, "modeller", folder, "provide", "outer.ppml", "--param", "w=w.npy")
    assert provided.returncode == 0, provided.stderr
    asked = on(machines, "client", folder, "submit", "outer.ppml", "--input", "x=x.npy", "--output", "y=y.npy")
    assert asked.returncode == 0, asked.stderr
    assert np.allclose(np.load(folder / "y.npy"), 2 * W, atol=1e-3)


@pytest.mark.parametrize("kind", ["IPv4", pytest.param("IPv6", marks=pytest.mark.long)])
def test_five_machines_with_their_own_addresses(machines: Network, tmp_path: Path, kind: str) -> None:
    address = V4 if kind == "IPv4" else f"[{V6}]"
    deployment(tmp_path, {name: address.format(number) for name, number in machines.numbers.items()})
    with serving(machines, tmp_path):
        assert_serves(machines, tmp_path)


def test_servers_that_listen_everywhere_and_are_reached_by_one_address(machines: Network, tmp_path: Path) -> None:
    """p0 listens at all of its IPv4 addresses, p1 at all of both kinds; others know one address of each."""
    hosts = {name: V4.format(number) for name, number in machines.numbers.items()}
    hosts["p1"] = f"[{V6.format(machines.numbers['p1'])}]"
    cluster = deployment(tmp_path, hosts)
    text = cluster.read_text()
    for name, everywhere in (("p0", "0.0.0.0"), ("p1", "[::]")):
        listen = f'listen = "{everywhere}:7100"\nlisten_clients = "{everywhere}:7103"\n'
        text = text.replace(f"[{name}]\n", f"[{name}]\n{listen}")
    cluster.write_text(text)
    with serving(machines, tmp_path):
        assert_serves(machines, tmp_path)
        assert "listens at 0.0.0.0:7100 (clients: 0.0.0.0:7103)" in (tmp_path / "p0.log").read_text()


def test_a_server_behind_another_port_as_with_nat(machines: Network, tmp_path: Path) -> None:
    """p0's machine hands port 17100 on to 7100, and 17103 to 7103: what is reached is not what is listened at."""
    cluster = deployment(tmp_path, {name: V4.format(number) for name, number in machines.numbers.items()})
    own = V4.format(machines.numbers["p0"])
    text = cluster.read_text().replace(f"{own}:7100", f"{own}:17100").replace(f"{own}:7103", f"{own}:17103")
    listen = 'listen = "127.0.0.1:7100"\nlisten_clients = "127.0.0.1:7103"\n'
    cluster.write_text(text.replace("[p0]\n", f"[p0]\n{listen}"))
    with ExitStack() as stack:
        for port in (7100, 7103):
            words = sys.executable, "-c", RELAY, own, f"1{port}", str(port)
            process = subprocess.Popen(machines.inside("p0", *words))
            stack.callback(process.wait)
            stack.callback(process.kill)
        with serving(machines, tmp_path):
            assert_serves(machines, tmp_path)
