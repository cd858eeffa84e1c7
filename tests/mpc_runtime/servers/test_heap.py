"""A server's environment asks glibc for huge pages, once, whatever else is asked of it, and OpenBLAS for no threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mpc_runtime.servers.heap import environment


@pytest.mark.parametrize(
    ("given", "tunables"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1"}, "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
    ],
)
def test_what_is_chosen_already_is_kept(given: dict[str, str], tunables: str) -> None:
    found = environment({"A": "b", **given})
    assert found == {"A": "b", "GLIBC_TUNABLES": tunables, "OPENBLAS_NUM_THREADS": "1"}
    assert environment({"OPENBLAS_NUM_THREADS": "2"})["OPENBLAS_NUM_THREADS"] == "2"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_a_program_starts_again_once_with_its_arguments() -> None:
    program = (
        "import json, os, sys; from mpc_runtime.servers.heap import restart_with_environment as again; again(); "
        "print(json.dumps([os.getpid(), sys.argv, os.environ['GLIBC_TUNABLES']]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "--flag", "an argument"],
        stdout=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"},
    ) as child:
        out, _ = child.communicate(timeout=60)
    assert json.loads(out) == [child.pid, ["-c", "--flag", "an argument"], "glibc.malloc.hugetlb=1"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
@pytest.mark.parametrize("obstacle", ["os.environ.pop('GLIBC_TUNABLES', 0)", "sys.executable = '/not/there'"])
def test_a_program_that_cannot_have_it_goes_on_without(obstacle: str) -> None:
    program = (
        f"import os, sys; from mpc_runtime.servers.heap import restart_with_environment as again; {obstacle}; again(); "
        "print('on')"
    )
    environ = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environ, timeout=60, check=True)
    assert done.stdout == b"on\n"
