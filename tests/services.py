"""Services as operators run them: three processes, each with a data folder, and plans that they have approved."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mpc_runtime.plan_file import load
from mpc_runtime.servers.approval import approve
from mpc_runtime.servers.catalogue import Catalogue
from tests.terminal import ROOT, command, environment, free_port, mpcc
from tests.waiting import all_gone

NAMES = ("p0", "p1", "dealer")


class Services:
    """Of the cluster.toml in a folder, with data in NAME.data; what they say goes to NAME.log."""

    def __init__(self, folder: Path, options: Mapping[str, Sequence[object]] | None = None) -> None:
        """options: more of them, by service."""
        self.folder = folder
        self.options = options or {}
        self.journals = False
        """Whether the processes of plans write down what they use (`tests/kills.py`), in NAME.journal."""
        self.cluster = folder / "cluster.toml"
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, *names: str) -> None:
        for name in names:
            with (self.folder / f"{name}.log").open("a") as log:
                words = command("serve", name, "--data", f"{name}.data", *self.options.get(name, ()))
                self.processes[name] = subprocess.Popen(
                    words, cwd=self.folder, env=self._environment(name), stderr=log, text=True
                )

    def _environment(self, name: str) -> dict[str, str]:
        found = environment()
        if not self.journals:
            return found
        path = os.pathsep.join((found["PYTHONPATH"], str(ROOT / "tests/journaled")))
        return {**found, "PYTHONPATH": path, "MPC_JOURNAL": str(self.folder / f"{name}.journal")}

    def kill(self, name: str) -> None:
        """As a machine that loses its power: nothing is said, and its plans' processes have ended with it.

        They have connections of their own, and would answer another query if they were not waited for.
        """
        children = self.children(name)
        self.processes[name].kill()
        self.processes[name].wait()
        assert all_gone(children)

    def stop(self, name: str) -> int:
        """As an operator stops it; its exit code."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait()

    def children(self, name: str) -> list[int]:
        """The process ids of a service's processes for plans."""
        pid = self.processes[name].pid
        files = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for file in files for child in file.read_text().split()]

    def approve(self, name: str, plan: Path) -> None:
        for service in NAMES:
            approve(Catalogue(self.folder / f"{service}.data"), name, load(plan))

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def deployed(folder: Path, *plans: Path, options: Mapping[str, Sequence[object]] | None = None) -> Services:
    """Services that are to serve these plans, each under its file's name; they are not started yet."""
    mpcc(folder, "init-cluster", plans[0], "--port", free_port())
    toml = folder / "cluster.toml"
    text = re.sub(r'"?client"? = \["[^"]+"\]\n?', "", toml.read_text())
    key = re.search(r'"?client"? = \["([^"]+)"\]', toml.read_text())
    assert key is not None
    toml.write_text(text + f'\n[[roles.client]]\nkey = "{key[1]}"\nmay = ["submit", "receive", "deploy"]\n')
    made = Services(folder, options)
    for plan in plans:
        made.approve(plan.stem, plan)
    return made


@contextmanager
def services(folder: Path, model: str, name: str) -> Iterator[Services]:
    """All three, with one plan deployed as `name`."""
    (folder / f"{name}.ppml").write_text(model)
    mpcc(folder, "compile", f"{name}.ppml")
    running = deployed(folder, folder / f"{name}.plan")
    try:
        running.start(*NAMES)
        yield running
    finally:
        running.close()
