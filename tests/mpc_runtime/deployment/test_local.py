"""The servers of a local session as processes: which of them is at fault when one has died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import mpc_runtime as mpc
from mpc_runtime.deployment.local import Processes
from mpc_runtime.limits import WINDOW_BYTES
from tests.waiting import SECONDS

PLAN = mpc.compile(text="model m\nrole a\ninput x : [2] from a in [0, 1]\noutput y = x * x to a\n").plan


def test_a_killed_machine_is_waited_for_though_another_has_ended_before_it() -> None:
    """What a death takes with it may end first."""
    processes = Processes(PLAN, PLAN.roles, SECONDS, WINDOW_BYTES)
    dealer, p1 = processes._children["dealer"], processes.pids()["p1"]
    try:
        with subprocess.Popen([sys.executable, "-c", ""]) as ended:
            ended.wait()
            processes._children["dealer"] = ended
            threading.Timer(0.2, os.kill, (p1, signal.SIGKILL)).start()
            first, *others = processes.deaths(SECONDS, "p1")
            assert (first.name, first.killed) == ("p1", True) and "dealer" in [each.name for each in others]
            assert not any(each.killed for each in others)
    finally:
        processes._children["dealer"] = dealer
        processes.close()
