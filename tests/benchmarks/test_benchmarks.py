"""The benchmarks measure what they say: the relay's delay and rate, the workloads' meaning, the report's tables."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from benchmarks import measure, report
from benchmarks.measure import asleep, stopped, wait_until_quiet
from benchmarks.plots import growth_plot, peers_plot
from benchmarks.relay import Relay, round_trip_seconds
from benchmarks.workloads import make
from tests.waiting import until


def test_a_byte_and_its_echo_take_one_round_trip():
    assert 0.03 <= round_trip_seconds(0.03, 1e9) < 0.06


def test_bytes_pass_no_faster_than_the_rate():
    size, rate = 200_000, 8e6  # 0.2 s
    with socket.create_server(("127.0.0.1", 0)) as server, Relay(0.0, rate) as relay:
        host, port = server.getsockname()
        near_address = relay.start({"echo": f"{host}:{port}"})["echo"]
        with socket.create_connection(("127.0.0.1", int(near_address.rpartition(":")[2]))) as near:
            far, _ = server.accept()
            began = time.perf_counter()
            threading.Thread(target=near.sendall, args=(bytes(size),), daemon=True).start()
            received = 0
            while received < size:
                received += len(far.recv(1 << 16))
            taken = time.perf_counter() - began
            far.close()
    assert taken >= 8 * size / rate * 0.95


@pytest.mark.parametrize("name", ["logistic_b1", "lenet_b1", "forest_b8"])
def test_a_workload_means_what_its_model_means(name):
    work = make(name)
    program = mpc.compile(text=work.source)
    found = program.reference(work.inputs, work.params)[work.result]
    assert np.abs(found - work.reference).max() < 1e-9


@pytest.mark.parametrize("name", ["relu", "less_b8", "matmul_b8"])
def test_no_operand_belongs_to_one_role_alone(name):
    """Otherwise that role's client would compute the result, and there would be no round to measure."""
    assert mpc.compile(text=make(name).source).cost.rounds > 0


@contextmanager
def process(code: str) -> Iterator[int]:
    """A process of this Python; it has begun with `code` when its line has come."""
    with subprocess.Popen([sys.executable, "-c", f"print(flush=True)\n{code}"], stdout=subprocess.PIPE) as started:
        try:
            started.stdout.readline()
            yield started.pid
        finally:
            started.kill()


on_linux = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="threads are looked at in /proc")


@on_linux
def test_a_process_that_waits_for_a_core_is_not_quiet(monkeypatch):
    monkeypatch.setattr(measure, "QUIET_AT_MOST", 0.2)
    with process("import os; os.nice(19)\nwhile True: pass") as busy, process("import time; time.sleep(600)") as idle:
        until(lambda: asleep([idle]))
        assert all(asleep([busy]) is None and asleep([idle, busy]) is None for _ in range(20))
        with pytest.raises(TimeoutError, match="not quiet"):
            wait_until_quiet([idle, busy])
        monkeypatch.setattr(measure, "QUIET_AT_MOST", 60.0)
        wait_until_quiet([idle])


@on_linux
def test_a_stopped_process_goes_on_before_the_others_miss_it():
    with process("while True: pass") as busy:
        state = Path(f"/proc/{busy}/stat")
        with stopped(busy, seconds=1.0):
            until(lambda: state.read_text().split()[2] == "T")
            until(lambda: state.read_text().split()[2] == "R")
        with stopped(busy, seconds=600.0):
            until(lambda: state.read_text().split()[2] == "T")
        until(lambda: state.read_text().split()[2] == "R")


def row(name: str, seconds: float) -> dict[str, object]:
    keys = ("online", "offline", "total", "sustained", "best")
    return {"name": name, "what": f"<{name}>", **dict.fromkeys(keys, seconds)}


def test_only_measured_tables_are_replaced():
    page = "a\n<!-- measured: startup -->\nold\n<!-- end -->\nb\n<!-- measured: network -->\nold\n<!-- end -->\n"
    filled = report.fill(page, {"startup": [{"name": "import", "seconds": 0.1}]})
    assert "| import | 100 ms |" in filled
    assert filled.count("old") == 1
    assert filled.endswith("old\n<!-- end -->\n")


def test_a_row_measured_again_replaces_the_older_one(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"section": "startup", "name": "x", "seconds": 1}\n{"section": "startup", "name": "x", "seconds": 2}\n'
    )
    assert report.read([str(file)]) == {"startup": [{"section": "startup", "name": "x", "seconds": 2}]}


def test_plots_are_well_formed():
    names = ["lenet_b1", "lenet_b8"]
    for plot in (growth_plot([row(n, 0.01) for n in names]), peers_plot([row(n, 0.02) for n in names])):
        ElementTree.fromstring(plot)


def test_kernels_stand_in_a_line_with_all_their_variants():
    found = report.kernels(
        [
            {"name": name, "variant": variant, "rate": 2.0, "ratio": 0.5, "unit": "GB/s", "yardstick": "memcpy"}
            for name, variant in (("pack", "portable"), ("prg", "aesni"), ("pack", "avx2"))
        ]
    )
    assert "| kernel | portable | avx2 | unit | ratio to |" in found
    assert "| pack | 2 (0.50) | 2 (0.50) | GB/s | memcpy |" in found
    assert "| prg | 2 (0.50) | GB/s | memcpy |" in found
