"""Private machine learning with two compute parties and a dealer.

    import mpc_runtime as mpc

    program = mpc.compile("lenet.ppml", dims={"batch": 8})
    with mpc.launch(program) as session:
        session.provide("lenet.safetensors")
        result = session.run(image=x)

`Program` says what a model costs and reveals; `Session` runs it.
"""

from .cost import Cost, OpCost
from .errors import CompileError, Error, InputError, MaterialError, PeerError
from .program import Program, compile, connect, launch, load
from .session import Session
from .stats import Stats
from .version import VERSION as __version__

__all__ = [
    "CompileError",
    "Cost",
    "Error",
    "InputError",
    "MaterialError",
    "OpCost",
    "PeerError",
    "Program",
    "Session",
    "Stats",
    "__version__",
    "compile",
    "connect",
    "launch",
    "load",
]
