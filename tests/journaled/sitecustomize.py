"""Has the Python that finds this on its path write down what an execution uses (`tests/kills.py`), in the file that
MPC_JOURNAL names. Services start the processes of plans by themselves, so a test has no other way into these."""

import os

from mpc_runtime.servers.executions import Executions
from mpc_runtime.transport.records import PeerChannel
from tests.kills import journal

if path := os.environ.get("MPC_JOURNAL"):
    journal(Executions, PeerChannel, path)
