"""The deployment guide on machines of their own: `python -m tests.fuzz.namespaces`.

Each machine is a network namespace with an address, and all hang on one bridge, from which everything is captured. The
commands are those of docs/deployment.md, and so is the cluster.toml, with addresses and keys filled in. LeNet is
served, somebody whose key is in no file gets nothing, and what the network saw is looked through (`captured.py`).

Where namespaces are not permitted, the program says so and ends with exit code 0.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mpc_runtime as mpc
from mpc_runtime.roles.files import read_many
from tests.fuzz.captured import Capture, found
from tests.terminal import ROOT, command, environment
from tests.waiting import SECONDS, holds

INSIDE = "MPC_NAMESPACES"
SERVERS, ROLES = ("p0", "p1", "dealer"), ("modeller", "client", "ward", "stranger")
HOSTS = {"p0.hospital.example": "p0", "p1.university.example": "p1", "dealer.notary.example": "dealer"}
LENET = ROOT / "examples/lenet"
ROWS = 2
WORDS = (b'"kind"', b"submit", b"probabilities", b"modeller", b"digits")
NEEDLES, NEEDLE_BYTES = 40, 16


@dataclass
class Machine:
    """A namespace, which lasts as long as a process in it, and a folder in the place of /etc/mpc and /var/lib/mpc."""

    name: str
    address: str
    folder: Path
    pid: int

    def words(self, *arguments: object) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-n", "--", *command(*arguments)]

    def mpcc(self, *arguments: object, code: int = 0) -> str:
        """What a command says."""
        done = subprocess.run(
            self.words(*arguments),
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code and "Traceback" not in said, f"{self.name}: mpcc {arguments}: {said}"
        return said


@contextmanager
def machines(folder: Path) -> Iterator[dict[str, Machine]]:
    """On a bridge br0 of this namespace."""
    for words in ("add name br0 type bridge", "set br0 up promisc on", "set lo up"):
        _ip(words)
    with ExitStack() as stack:
        made = {}
        for number, name in enumerate((*SERVERS, *ROLES), 1):
            keeper = stack.enter_context(subprocess.Popen(["unshare", "--net", "sleep", "infinity"]))
            stack.callback(keeper.kill)
            own = os.readlink("/proc/self/ns/net")
            assert holds(lambda pid=keeper.pid, own=own: os.readlink(f"/proc/{pid}/ns/net") != own)  # type: ignore[misc]
            address = f"10.77.0.{number}"
            _ip(f"add name v{number} type veth peer name w{number}")
            _ip(f"set w{number} netns {keeper.pid}")
            _ip(f"set v{number} master br0 up")
            for words in (f"addr add {address}/24 dev w{number}", f"link set w{number} up", "link set lo up"):
                subprocess.run(["nsenter", "-t", str(keeper.pid), "-n", "ip", *words.split()], check=True)
            (folder / name).mkdir()
            made[name] = Machine(name, address, folder / name, keeper.pid)
        yield made


def _ip(words: str) -> None:
    subprocess.run(["ip", "link", *words.split()], check=True)


def cluster_of_the_guide(made: dict[str, Machine], keys: dict[str, str]) -> str:
    """Its cluster.toml: keys stand there as dots, in this order."""
    guide = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", guide, re.S)
    for host, name in HOSTS.items():
        text = text.replace(host, made[name].address)
    for name in (*SERVERS, "client", "ward", "modeller"):
        text = text.replace('"…"', f'"{keys[name]}"', 1)
    return text


def key_of(made: Machine, name: str) -> str:
    said = made.mpcc("keygen", name)
    (key,) = re.findall(r"(?<!\S)\S{40}(?!\S)", said)
    return str(key)


def served(folder: Path) -> list[str]:
    """Goes through the guide; what is wrong."""
    with machines(folder) as made, ExitStack() as stack:
        capture = stack.enter_context(Capture("br0"))
        roles = {**{name: name for name in (*SERVERS, *ROLES)}, "ward": "client", "stranger": "client"}
        keys = {name: key_of(made[name], role) for name, role in roles.items()}
        toml = cluster_of_the_guide(made, keys)
        for machine in made.values():
            (machine.folder / "cluster.toml").write_text(toml)
        for name in SERVERS:
            with (folder / f"{name}.log").open("w") as log:
                words = made[name].words("serve", name, "--data", "data")
                process = subprocess.Popen(words, cwd=made[name].folder, env=environment(), stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        print("three services, each on its machine", flush=True)
        modeller, client = made["modeller"], made["client"]
        shutil.copy(LENET / "lenet.ppml", modeller.folder / "model.ppml")
        shutil.copy(LENET / "lenet.safetensors", modeller.folder / "weights.safetensors")
        modeller.mpcc("compile", "model.ppml", "-o", "model.plan")
        modeller.mpcc("deploy", "model.plan", "--name", "digits", "--role", "modeller")
        for name in SERVERS:
            made[name].mpcc("approve", "digits", "--data", "data", "--yes")
        for name in SERVERS:
            assert holds(lambda log=folder / f"{name}.log": "is ready" in log.read_text()), name  # type: ignore[misc]
        print("offered by the modeller, approved by three operators", flush=True)
        modeller.mpcc("provide", "model.plan", "--role", "modeller", "--param", "weights.safetensors")
        client.mpcc("fetch", "digits", "--role", "client", "-o", "model.plan")
        made["p0"].mpcc("doctor", "--data", "data")
        images = np.random.default_rng(0).uniform(0, 1, (ROWS, 1, 28, 28))
        np.save(client.folder / "images.npy", images)
        client.mpcc(
            *("submit", "model.plan", "--role", "client", "--input", "image=images.npy", "--output", "answers.npy")
        )
        answers = np.load(client.folder / "answers.npy")
        weights = read_many(LENET / "lenet.safetensors")
        program = mpc.compile(LENET / "lenet.ppml", dims={"batch": ROWS})
        expected = program.reference({"image": images}, weights)["probabilities"]
        worst = float(np.abs(answers - expected).max())
        print(f"LeNet answered {ROWS} images, off by {worst:.4f} at most", flush=True)
        assert worst < 0.05
        refused = strangers_attempts(made["stranger"], made["p0"], keys, client)
        print(f"a stranger was told: {refused}", flush=True)
    if capture.lost:
        return [f"{capture.lost} packets were not captured"]
    flows = capture.flows()
    secrets = {
        **{f"the image as {kind}": needles(images, kind) for kind in ("<f8", "<f4", "fixed")},
        **{f"{name} as {kind}": needles(w, kind) for name, w in weights.items() for kind in ("<f8", "<f4", "fixed")},
        "the answer": needles(answers, "<f8"),
        "a message": list(WORDS),
    }
    total = sum(len(piece) for flow in flows for piece in flow.pieces.values())
    print(f"captured: {len(flows)} directions of connections, {total / 1e6:.1f} MB", flush=True)
    return found(flows, secrets)


def strangers_attempts(stranger: Machine, p0: Machine, keys: dict[str, str], client: Machine) -> str:
    """Somebody with a key of its own, who tells itself that it is the client's."""
    toml = stranger.folder / "cluster.toml"
    toml.write_text(toml.read_text().replace(keys["client"], keys["stranger"]))
    shutil.copy(client.folder / "model.plan", stranger.folder)
    shutil.copy(client.folder / "images.npy", stranger.folder)
    said = stranger.mpcc("fetch", "digits", "--role", "client", "-o", "stolen.plan", code=1)
    said = stranger.mpcc("submit", "model.plan", "--role", "client", "--input", "image=images.npy", code=1)
    assert "does not accept our key" in said, said
    assert not (stranger.folder / "stolen.plan").exists()
    log = p0.folder.parent / "p0.log"
    assert holds(lambda: "refused" in log.read_text())
    return said.strip().splitlines()[-1]


def needles(array: np.ndarray, kind: str) -> list[bytes]:
    """Some pieces of an array, as it would be seen in a file or in a message that is not masked."""
    words = np.round(np.asarray(array, np.float64) * 2**16).astype("<i8") if kind == "fixed" else array.astype(kind)
    data = words.tobytes()
    starts = np.linspace(0, max(0, len(data) - NEEDLE_BYTES), NEEDLES).astype(int) // 8 * 8
    pieces = {data[at : at + NEEDLE_BYTES] for at in starts}
    return [piece for piece in pieces if len(piece) == NEEDLE_BYTES and len(set(piece)) > NEEDLE_BYTES // 2]


def main() -> None:
    if INSIDE not in os.environ:
        apart = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "--"]
        tried = [*apart, "ip", "link", "add", "name", "br0", "type", "bridge"]
        if shutil.which("unshare") is None or subprocess.run(tried, capture_output=True, check=False).returncode:
            print("skipped: this machine does not permit network namespaces")
            return
        os.environ[INSIDE] = "1"
        os.execvp(apart[0], [*apart, sys.executable, "-m", "tests.fuzz.namespaces"])
    with tempfile.TemporaryDirectory() as folder:
        problems = served(Path(folder))
    print("\n".join(problems) or "nothing readable, nothing twice")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
