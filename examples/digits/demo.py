"""`make demo`: five processes on this machine classify handwritten digits privately.

A dealer and two parties compute, a modeller gives the weights, a client the images; each is a process of its own with a
key of its own, started by the command that a real deployment uses. This program only starts them, and compares what the
client gets with the labels and with plaintext. `mpc.launch` does all of it in a line, as the other examples show.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

import mpc_runtime as mpc

HERE = Path(__file__).parent
MPCC = Path(sys.executable).with_name("mpcc")  # of the environment that runs this file
MODEL, WEIGHTS = HERE / "digits.ppml", HERE / "digits.safetensors"
BATCH = 120
PORTS = 5  # of a cluster: three servers, and the clients of two
SECONDS_TO_END = 10
EXIT_INTERRUPTED = 130  # as a shell counts Ctrl-C


def main() -> None:
    data = np.load(HERE / "digits.npz")
    images, labels = data["image"] / data["levels"], data["label"]

    with tempfile.TemporaryDirectory() as folder:
        private, stats = deploy_and_ask(Path(folder), images)
    everything_at_once = mpc.compile(MODEL, dims={"batch": len(images)})
    plain = everything_at_once.reference(inputs={"image": images}, params=WEIGHTS)["probabilities"]

    print_table(private.argmax(axis=1), labels)
    print(f"accuracy, private      {(private.argmax(axis=1) == labels).mean():.2%}")
    print(f"accuracy, plaintext    {(plain.argmax(axis=1) == labels).mean():.2%}")
    print(f"largest difference     {abs(private - plain).max():.6f} in a probability")
    print(f"\nWhat it cost, with rounds and bytes for one run of {BATCH} digits and times for all {len(images)}:")
    print(stats)


def deploy_and_ask(folder: Path, images: np.ndarray) -> tuple[np.ndarray, mpc.Stats]:
    """Runs the five processes in `folder`; the probabilities `[n, 10]` that the client got, and what they cost."""
    for file in (MODEL, WEIGHTS):
        shutil.copy(file, folder)
    np.save(folder / "images.npy", images)
    mpcc(folder, f"compile digits.ppml --dim batch={BATCH} -o digits.plan")
    mpcc(folder, f"init-cluster digits.plan --port {free_ports()}")
    with serving(folder, "dealer digits.plan", "party 0 digits.plan", "party 1 digits.plan"):
        mpcc(folder, "provide digits.plan --role modeller --param digits.safetensors")
        answer = mpcc(
            folder, "submit digits.plan --role client --input image=images.npy --output probabilities=answer.npy --json"
        )
    stats = json.loads(answer)["stats"]
    return np.load(folder / "answer.npy"), mpc.Stats(**{**stats, "per_op": ()})


def mpcc(folder: Path, command: str) -> str:
    """Runs one `mpcc` command to its end; what it printed. Ends the demo where the command failed."""
    print("$ mpcc", command, flush=True)
    done = subprocess.run([MPCC, *command.split()], cwd=folder, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"mpcc {command.split()[0]} failed; its message is above")
    return done.stdout


@contextmanager
def serving(folder: Path, *commands: str) -> Iterator[None]:
    """Runs `mpcc` servers until the block ends; shows what they had to say only where the block failed."""
    log = folder / "servers.log"
    servers = []
    try:
        for command in commands:
            print("$ mpcc", command, "&", flush=True)
            with log.open("ab") as file:
                servers.append(subprocess.Popen([MPCC, *command.split()], cwd=folder, stdout=file, stderr=file))
        yield
    except SystemExit:
        print(log.read_text(), file=sys.stderr)
        raise
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(SECONDS_TO_END)


def free_ports() -> int:
    """The first of five ports in a row that nobody uses at the moment."""
    for first in range(7100, 8000, PORTS):
        with ExitStack() as probes:
            try:
                for port in range(first, first + PORTS):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise SystemExit(f"no {PORTS} free ports in a row were found between 7100 and 8000")


def print_table(predicted: np.ndarray, labels: np.ndarray) -> None:
    """How often each digit (a row) was taken for which (a column)."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    print(f"\n{len(labels)} digits that the training has not seen: label (row) against private prediction (column)\n")
    print("      ", *(f"{digit:4d}" for digit in range(10)))
    for digit, row in enumerate(counts):
        print(f"  {digit:4d}", *(f"{count or '.':>4}" for count in row))
    print()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
