"""Private machine learning with two compute parties and a dealer.

    import mpc_runtime as mpc

    program = mpc.compile("lenet.ppml", dims={"batch": 8})
    with mpc.launch(program) as session:
        session.provide("lenet.safetensors")
        result = session.run(image=x)

`Program` says what a model costs and reveals; `Session` runs it. What sessions need (sockets, processes) is imported
when the first one is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .analysis.cost import Cost, OpCost
from .errors import (
    BudgetError,
    CompileError,
    CompileWarning,
    Error,
    InputError,
    Interrupted,
    MaterialError,
    PeerError,
    PerformanceWarning,
    PromiseWarning,
    RangeError,
)
from .models import calibrate, forest_of, from_sklearn, from_torch, import_onnx
from .program import Program, compile, connect, deal, launch, load
from .version import VERSION as __version__

if TYPE_CHECKING:
    from .execution.stats import Stats
    from .session import Session
    from .sessions.history import Epoch, History, ReferenceFit
    from .store.deal import Dealt

__all__ = [
    "BudgetError",
    "CompileError",
    "CompileWarning",
    "Cost",
    "Dealt",
    "Epoch",
    "Error",
    "History",
    "InputError",
    "Interrupted",
    "MaterialError",
    "OpCost",
    "PeerError",
    "PerformanceWarning",
    "Program",
    "PromiseWarning",
    "RangeError",
    "ReferenceFit",
    "Session",
    "Stats",
    "__version__",
    "calibrate",
    "compile",
    "connect",
    "deal",
    "forest_of",
    "from_sklearn",
    "from_torch",
    "import_onnx",
    "launch",
    "load",
]

_LATER = {
    "Dealt": "store.deal",
    "Epoch": "sessions.history",
    "History": "sessions.history",
    "ReferenceFit": "sessions.history",
    "Session": "session",
    "Stats": "execution.stats",
}


def __getattr__(name: str) -> Any:
    """What sessions need, when it is asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)


def __dir__() -> list[str]:
    """Every public name, those included that are loaded when they are asked for."""
    return sorted({*globals(), *__all__})
