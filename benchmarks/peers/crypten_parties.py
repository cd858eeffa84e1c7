"""CrypTen in its own environment: two processes, gloo on loopback; triples from a third (TTP) or from party 0 (TFP).

64-bit integers, 16 fraction bits, its own sigmoid (by reciprocal) and maximum. In TFP party 0 knows every triple: less
than our setting. Prints a JSON line per workload: seconds from shared inputs to shared outputs, triples included, the
slower party counting; no sharing and no revealing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
import types
from multiprocessing import Queue
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.workloads import make, wrong

PARTIES = 2


def stub_withdrawn_module() -> None:
    """CrypTen 0.4.1 imports a private module that newer PyTorch no longer has, for ONNX, which is not used here."""
    name = "torch.onnx._internal.registration"
    try:
        __import__(name)
    except ImportError:
        module = types.ModuleType(name)
        module.registry = None  # type: ignore[attr-defined]
        sys.modules[name] = module


def apply(operation: str, args: list[Any]) -> Any:
    """A workload's operation on CrypTensors."""
    if operation == "lenet":
        x, w1, b1, w2, b2, w3, b3, w4, b4 = args
        x = (x.conv2d(w1) + b1.reshape(1, -1, 1, 1)).relu().max_pool2d(2, stride=2)
        x = (x.conv2d(w2) + b2.reshape(1, -1, 1, 1)).relu().max_pool2d(2, stride=2)
        x = x.reshape(x.shape[0], -1)
        return (x.matmul(w3) + b3).relu().matmul(w4) + b4
    if operation == "logistic":
        x, w, b = args
        return (x.matmul(w) + b).sigmoid()
    if operation in ("mul", "matmul"):
        return args[0] * args[1] if operation == "mul" else args[0].matmul(args[1])
    (x,) = args
    return {"relu": x.relu, "softmax": lambda: x.softmax(1), "maxpool": lambda: x.max_pool2d(2, stride=2)}[operation]()


def party(rank: int, provider: str, world: int, meeting: str, names: list[str], repetitions: int, out: Queue) -> None:
    """One process: rank 0 and 1 are the parties, 2 the third one that makes the triples."""
    os.environ.update(
        WORLD_SIZE=str(PARTIES),
        RANK=str(rank),
        RENDEZVOUS=f"file://{meeting}",
        DISTRIBUTED_BACKEND="gloo",
        GLOO_SOCKET_IFNAME="lo",
    )
    stub_withdrawn_module()
    import crypten
    import torch
    from crypten import communicator
    from crypten.config import cfg

    cfg.mpc.provider = provider
    if rank == PARTIES:
        crypten.mpc.provider.TTPServer()
        return
    crypten.init()
    with crypten.no_grad():
        for name in names:
            work = make(name)
            tensors = [torch.from_numpy(np.ascontiguousarray(v, np.float32)) for v in work.secrets.values()]
            args = [crypten.cryptensor(tensor, src=int(i > 0)) for i, tensor in enumerate(tensors)]
            seconds = []
            for _ in range(repetitions + 1):
                communicator.get().barrier()
                began = time.perf_counter()
                result = apply(work.operation, args)
                seconds.append(time.perf_counter() - began)
            out.put((rank, name, seconds[1:], result.get_plain_text().numpy()))
    crypten.uninit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--provider", choices=("TTP", "TFP"), default="TTP")
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    answers: Queue = context.Queue()
    world = PARTIES + (given.provider == "TTP")
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        shared = (given.provider, world, meeting, given.names, given.repetitions, answers)
        processes = [context.Process(target=party, args=(rank, *shared), daemon=True) for rank in range(world)]
        for process in processes:
            process.start()
        seen: dict[str, dict[int, list[float]]] = {}
        for _ in range(PARTIES * len(given.names)):
            rank, name, seconds, found = answers.get()
            seen.setdefault(name, {})[rank] = seconds
            if len(seen[name]) == PARTIES:
                slower = [max(times) for times in zip(*seen[name].values(), strict=True)]
                reference = make(name).peer_reference
                found = np.asarray(found, np.float64).reshape(reference.shape)
                row = {
                    "name": name,
                    "seconds": median(slower),
                    "all_seconds": slower,
                    "max_error": float(np.abs(found - reference).max()),
                    "wrong": wrong(found, reference),
                }
                print(json.dumps(row), flush=True)
        for process in processes:
            process.join(10)


if __name__ == "__main__":
    main()
