"""SecretFlow SPU in its own environment, protocol semi2k: two processes, brpc on loopback.

Its triples come from party 0 (TrustedFirstParty), who thus knows all of them: less than our setting, but the only one
that the wheel offers. Ring of 64 bits, 18 fraction bits, default sigmoid: the defaults. Prints a JSON line per
workload: seconds from shared inputs to shared outputs, triples included, the slower party counting; no sharing,
compiling or revealing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.workloads import make, wrong

PARTIES = 2
PATIENCE_MS = 1_200_000


def operation(name: str) -> Callable[..., Any]:
    """A workload's operation, in JAX."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    def pool(x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    def conv(x: Any, w: Any, b: Any) -> Any:
        y = lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NCHW", "OIHW", "NCHW"))
        return y + b[None, :, None, None]

    def lenet(x: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, w4: Any, b4: Any) -> Any:
        x = pool(jnp.maximum(conv(x, w1, b1), 0))
        x = pool(jnp.maximum(conv(x, w2, b2), 0))
        x = x.reshape(x.shape[0], -1)
        return jnp.maximum(x @ w3 + b3, 0) @ w4 + b4

    operations: dict[str, Callable[..., Any]] = {
        "relu": lambda x: jnp.maximum(x, 0),
        "mul": lambda a, b: a * b,
        "matmul": lambda a, b: a @ b,
        "lenet": lenet,
        "logistic": lambda x, w, b: jax.nn.sigmoid(x @ w + b),
        "softmax": lambda x: jax.nn.softmax(x, axis=-1),
        "maxpool": pool,
    }
    return operations[name]


def configuration() -> Any:
    from spu import libspu

    config = libspu.RuntimeConfig(protocol=libspu.ProtocolKind.SEMI2K, field=libspu.FieldType.FM64)
    config.beaver_type = libspu.RuntimeConfig.BeaverType.TrustedFirstParty
    return config


def party(rank: int, ports: list[int], log: str, pipe: Connection) -> None:
    """One party's process: takes (executable, names, shares, repetitions), gives (seconds, shares of the outputs)."""
    import spu
    from spu import libspu

    options = libspu.logging.LogOptions()
    options.enable_console_logger = False
    options.system_log_path = log
    libspu.logging.setup_logging(options)
    description = libspu.link.Desc()
    description.recv_timeout_ms = description.http_timeout_ms = PATIENCE_MS
    for number, port in enumerate(ports):
        description.add_party(f"p{number}", f"127.0.0.1:{port}")
    link = libspu.link.create_brpc(description, rank)
    while (task := pipe.recv()) is not None:
        code, names, shares, repetitions = task
        executable = libspu.Executable()
        executable.ParseFromString(code)
        runtime = spu.Runtime(link, configuration())
        for name, (meta, chunks) in zip(names, shares, strict=True):
            share = libspu.Share()
            share.meta, share.share_chunks = meta, chunks
            runtime.set_var(name, share)
        seconds = []
        for _ in range(repetitions + 1):
            link.barrier()
            began = time.perf_counter()
            runtime.run(executable)
            seconds.append(time.perf_counter() - began)
        outputs = [runtime.get_var(name) for name in executable.output_names]
        pipe.send((seconds[1:], [(share.meta, share.share_chunks) for share in outputs]))
    link.stop_link()


def measure(name: str, repetitions: int, io: Any, pipes: list[Connection]) -> dict[str, Any]:
    """One workload, after one repetition that warms up."""
    from spu import libspu
    from spu.utils import frontend

    work = make(name)
    values = [np.ascontiguousarray(value, np.float32) for value in work.secrets.values()]
    names = [f"in{i}" for i in range(len(values))]
    secret = libspu.Visibility.VIS_SECRET
    executable, _ = frontend.compile(
        frontend.Kind.JAX,
        operation(work.operation),
        values,
        {},
        names,
        [secret] * len(values),
        lambda outputs: [f"out{i}" for i in range(len(outputs))],
    )
    shares = [io.make_shares(value, secret) for value in values]
    for rank, pipe in enumerate(pipes):
        mine = [(parts[rank].meta, parts[rank].share_chunks) for parts in shares]
        pipe.send((executable.SerializeToString(), names, mine, repetitions))
    answers = [pipe.recv() for pipe in pipes]
    outputs = []
    for _, ((meta, chunks),) in answers:
        share = libspu.Share()
        share.meta, share.share_chunks = meta, chunks
        outputs.append(share)
    found = np.asarray(io.reconstruct(outputs), np.float64).reshape(work.peer_reference.shape)
    slower = [max(times) for times in zip(*(seconds for seconds, _ in answers), strict=True)]
    return {
        "name": name,
        "seconds": median(slower),
        "all_seconds": slower,
        "max_error": float(np.abs(found - work.peer_reference).max()),
        "wrong": wrong(found, work.peer_reference),
    }


def free_ports() -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(PARTIES)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import spu

    context = multiprocessing.get_context("spawn")
    ports, pipes, processes = free_ports(), [], []
    with tempfile.TemporaryDirectory() as logs:
        for rank in range(PARTIES):
            ours, theirs = context.Pipe()
            log = str(Path(logs) / f"p{rank}.log")
            process = context.Process(target=party, args=(rank, ports, log, theirs), daemon=True)
            process.start()
            pipes.append(ours)
            processes.append(process)
        io = spu.Io(PARTIES, configuration())
        for name in given.names:
            print(json.dumps(measure(name, given.repetitions, io, pipes)), flush=True)
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join(10)


if __name__ == "__main__":
    main()
