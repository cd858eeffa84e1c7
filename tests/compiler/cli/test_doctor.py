"""The doctor finds what was planted in a deployment that is well, names it, and says how to mend it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import mpc_runtime as mpc
from compiler.cli.doctor import doctor
from mpc_runtime.deployment.cluster import load_cluster, write_cluster
from mpc_runtime.deployment.keys import key_path, load_key, save_key
from mpc_runtime.plan import FORMAT, Plan
from mpc_runtime.servers.process import SERVERS
from mpc_runtime.servers.submissions import client_quota
from mpc_runtime.transport import front as front_module
from mpc_runtime.transport.address import clients_of
from mpc_runtime.transport.hello import PROTOCOL_VERSION
from mpc_runtime.transport.identity import KeyPair
from mpc_runtime.transport.node import Hello, Node
from tests.terminal import free_port

MODEL = """model credit
role bank, bureau
input x : [2, 3] from bank   in [-4, 4]
param w : [3, 1] from bureau in [-4, 4]
output score = x @ w to bank
"""
Findings = dict[str, tuple[str, str]]
"""Of what is not well: what -> what was found, what to do."""


class Site:
    """A deployment in a folder, and its servers as far as others see them: their doors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "credit.ppml"
        self.file.write_text(MODEL)
        self.plan = mpc.compile(self.file).plan
        self.cluster_file = folder / "cluster.toml"
        write_cluster(self.cluster_file, self.plan.roles, free_port())
        self.cluster = load_cluster(self.cluster_file)
        self.keys = {name: load_key(key_path(self.cluster_file, name)) for name in SERVERS}
        self._stack = ExitStack()
        self._over = threading.Event()

    def start(self, *names: str, plan: Plan | None = None) -> None:
        for name in names:
            node = Node(Hello(name, (plan or self.plan).hash, FORMAT), self.keys[name], 5.0)
            self._stack.callback(node.close)
            others = {self.cluster.server_keys[other]: other for other in SERVERS if other != name}
            node.listen(others, self.cluster.addresses[name])
            if name != "dealer":
                roles = {key: role for role, keys in self.cluster.roles.items() for key in keys}
                address = self.cluster.addresses[clients_of(name)]
                node.open_to_clients(roles, client_quota(self.plan, int(name[1])), address)
            thread = threading.Thread(target=self._attend, args=(node,))
            thread.start()
            self._stack.callback(thread.join)

    def _attend(self, node: Node) -> None:
        while not self._over.wait(0.01):
            node.hear_clients()

    def close(self) -> None:
        self._over.set()
        self._stack.close()

    def rewrite(self, old: str, new: str) -> None:
        """An entry of cluster.toml, as this machine has it."""
        text = self.cluster_file.read_text()
        assert old in text
        self.cluster_file.write_text(text.replace(old, new))

    def forget(self, *names: str) -> None:
        """The keys of others are not on this machine."""
        for name in names:
            key_path(self.cluster_file, name).unlink()

    def seen(self, *options: object) -> list[dict[str, Any]]:
        words = ["--cluster", str(self.cluster_file), "--json", *map(str, options)]
        done = CliRunner().invoke(doctor, words, standalone_mode=False)
        assert done.exception is None, done.output
        found: list[dict[str, Any]] = json.loads(done.stdout)
        assert done.return_value == (0 if all(each["well"] for each in found) else 1)
        assert all(each["help"] for each in found if not each["well"])
        return found

    def wrong(self, *options: object) -> Findings:
        return {each["what"]: (each["found"], each["help"]) for each in self.seen(*options) if not each["well"]}

    def at(self, place: str, *, by: str = "") -> str:
        """How a finding names a door."""
        return f"{by} -> {place} at {self.cluster.addresses[place]}" if by else f"{place} at {self.address(place)}"

    def address(self, place: str) -> str:
        return self.cluster.addresses[place]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    try:
        yield site
    finally:
        site.close()


@pytest.fixture
def well(site: Site) -> Site:
    site.start(*SERVERS)
    return site


def test_what_is_well_is_found_well_and_measured(well: Site) -> None:
    data = well.folder / "data"
    data.mkdir(mode=0o700)
    found = well.seen(well.file, "--data", data)
    assert [each for each in found if not each["well"]] == []
    words = {each["what"]: each["found"] for each in found}
    doors = [what for what in words if " -> " in what]
    assert len(doors) == 6 + 4  # each server at both others, both roles at both parties
    for door in doors:
        assert " ms, " in words[door] and "MB/s or more" in words[door]
    assert words["plan and version of p1"] == f"{well.plan.hash[:16]}, as here"


def test_one_who_has_no_key_sees_who_answers(well: Site) -> None:
    well.forget(*SERVERS, *well.plan.roles)
    found = {each["what"]: each["found"] for each in well.seen()}
    assert "answers with its key" in found[well.at("dealer")]
    assert "answers with its key" in found[well.at("p0.clients")]


def test_a_server_that_is_to_run_here_is_told_whether_it_could(site: Site) -> None:
    site.start("p1", "dealer")
    site.forget("p1", "dealer")
    found, help = site.wrong()[site.at("p0")]
    assert found.startswith("nobody listens there, and it could") and help.startswith("start it: mpcc party 0")
    port = site.address("p0").rpartition(":")[2]
    site.rewrite("[p0]\n", f'[p0]\nlisten = "192.0.2.1:{port}"\n')  # no address of this machine
    found, help = site.wrong()[site.at("p0")]
    assert "is not one of this machine's" in found and "where p0 is to listen" in help


# -- what was planted ------------------------------------------------------------------------------------------------


def test_01_a_key_that_is_not_the_one_in_the_cluster(well: Site) -> None:
    well.forget("p0")
    save_key(key_path(well.cluster_file, "p0"), stranger := KeyPair.generate())
    found, help = well.wrong()["key of p0"]
    assert stranger.public in found and "does not list" in found
    assert "on every machine" in help


def test_02_a_key_of_another_machine(well: Site) -> None:
    well.forget("p0")
    shutil.copy(key_path(well.cluster_file, "p1"), key_path(well.cluster_file, "p0"))
    found, help = well.wrong()["key of p0"]
    assert found == "is the key of p1" and "its own file" in help


def test_03_a_role_that_the_servers_do_not_know(well: Site) -> None:
    well.forget("bank")
    mine = KeyPair.generate()
    save_key(key_path(well.cluster_file, "bank"), mine)
    well.rewrite(well.cluster.roles["bank"][0], mine.public)
    wrong = well.wrong()
    assert wrong.keys() == {well.at("p0.clients", by="bank"), well.at("p1.clients", by="bank")}
    for found, help in wrong.values():
        assert found == "it does not accept our key" and "give the operator of p" in help


def test_04_a_key_file_that_others_may_read(well: Site) -> None:
    file = key_path(well.cluster_file, "dealer")
    file.chmod(0o640)
    found, help = well.wrong()["key of dealer"]
    assert "others may read" in found
    assert help.startswith(f"chmod 600 {file}")


def test_05_a_key_file_that_is_none(well: Site) -> None:
    key_path(well.cluster_file, "p1").write_text("lorem ipsum\n")
    found, help = well.wrong()["key of p1"]
    assert "expected a secret key" in found
    assert "restore" in help and "mpcc keygen" in help


@contextmanager
def another_program(address: str, says: bytes) -> Iterator[None]:
    """Takes connections and says this to each."""
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1)
                    connection.sendall(says)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_06_a_port_that_another_program_uses(site: Site) -> None:
    site.start("p1", "dealer")
    site.forget("p1", "dealer")
    with another_program(site.address("p0"), b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        found, help = site.wrong()[site.at("p0")]
    assert found == "what listens there is no server of ours"
    assert "end the program that uses port" in help


def test_07_a_server_that_is_not_running(site: Site) -> None:
    site.start("p0", "p1")
    wrong = site.wrong()
    assert wrong.keys() == {site.at("dealer", by="p0"), site.at("dealer", by="p1")}
    for found, help in wrong.values():
        assert found == "nobody listens there" and help.startswith("start it: mpcc dealer")


def test_08_addresses_that_were_exchanged(well: Site) -> None:
    p0, p1 = well.address("p0"), well.address("p1")
    text = well.cluster_file.read_text()
    well.cluster_file.write_text(text.replace(p0, "nowhere").replace(p1, p0).replace("nowhere", p1))
    found, help = well.wrong()[f"dealer -> p0 at {p1}"]
    assert found == "p1 answers there"
    assert "is that of p1; correct it" in help


def test_09_a_server_whose_public_key_here_is_old(well: Site) -> None:
    well.forget("p1")
    well.rewrite(well.cluster.server_keys["p1"], KeyPair.generate().public)
    found, help = well.wrong()[well.at("p1", by="dealer")]
    assert found == "whoever answers there has another key"
    assert "ask the operator of p1" in help


def test_10_another_plan(site: Site) -> None:
    other = mpc.compile(text=MODEL.replace("[2, 3]", "[4, 3]")).plan
    site.start("p0", "dealer")
    site.start("p1", plan=other)
    wrong = site.wrong(site.file)
    assert wrong.keys() == {"plan and version of p1"}
    found, help = wrong["plan and version of p1"]
    assert other.hash in found and site.plan.hash in found
    assert "the same plan file" in help


def test_11_another_version(well: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = PROTOCOL_VERSION
    answers = Hello.refusal

    def newer(self: Hello, other: dict[str, Any]) -> str:
        return answers(self, {**other, "version": ours - 1} if self.name == "p1" else other)

    monkeypatch.setattr(Hello, "refusal", newer)
    found, help = well.wrong(well.file)["plan and version of p1"]
    assert "protocol version" in found
    assert "the same version of mpc-runtime" in help


def test_12_a_clock_that_is_off(well: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def an_hour_ago() -> float:
        return time.time() - 3600

    monkeypatch.setattr(front_module, "time", SimpleNamespace(time=an_hour_ago, monotonic=time.monotonic))
    found, help = well.wrong()[well.at("p1", by="p0")]
    assert "its clock 36" in found and "behind" in found
    assert "timedatectl set-ntp true" in help


def test_13_no_folder_for_data(well: Site) -> None:
    data = well.folder / "data"
    found, help = well.wrong("--data", data)[f"data in {data}"]
    assert found == "is not there" and help.startswith(f"mkdir -p {data}")


def test_14_a_folder_for_data_that_cannot_be_written(well: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refused)  # to root, nothing is refused
    data = well.folder / "data"
    data.mkdir(mode=0o700)
    found, help = well.wrong("--data", data)[f"data in {data}"]
    assert found.startswith("cannot be written") and "chown" in help


def test_15_a_folder_for_data_that_others_may_read(well: Site) -> None:
    data = well.folder / "data"
    data.mkdir(mode=0o755)
    found, help = well.wrong("--data", data)[f"data in {data}"]
    assert found == "others may look into it" and help == f"chmod 700 {data}"


def test_16_a_role_of_the_plan_without_a_key(well: Site) -> None:
    well.rewrite('"bureau" =', '"office" =')
    found, help = well.wrong(well.file)[str(well.file)]
    assert "roles without a key: bureau" in found and "mpcc keygen" in help


def test_17_two_machines_with_one_key(well: Site) -> None:
    well.rewrite(well.cluster.server_keys["p1"], well.cluster.server_keys["p0"])
    found, help = well.wrong()[str(well.cluster_file)]
    assert "have the same key" in found
    assert "on every machine alike" in help
