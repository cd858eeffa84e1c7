"""What a role is told of a training."""

from __future__ import annotations

from mpc_runtime.procedure import TRAIN_STEP
from mpc_runtime.servers.trained import Trained
from mpc_runtime.transport.messages import CLIENT, Message, encode, read
from tests.mpc_runtime.plans import linear


def question() -> Message:
    return read("client", 1, [memoryview(encode({"kind": "trained", "id": "7" * 32}))], CLIENT)


def test_with_parameters_that_wait_training_begins_anew() -> None:
    """Else a role that has just provided would make the step after those of the training before."""
    trained = Trained(linear(), 0, None)
    assert trained.tell(question(), None) == {"step": 0, "checkpoints": [], "fit": None, "decided": None}
    for _ in range(3):
        trained.made(TRAIN_STEP)
    fit = {"start": 0}
    assert trained.tell(question(), fit) == {"step": 3, "checkpoints": [], "fit": fit, "decided": None}
    assert trained.tell(question(), None, begins=True) == {"step": 0, "checkpoints": [], "fit": None, "decided": None}
