"""Private machine learning with two compute parties and a dealer.

    import mpc_runtime as mpc

    program = mpc.compile("lenet.ppml", dims={"batch": 8})
    with mpc.launch(program) as session:
        session.provide("lenet.safetensors")
        result = session.run(image=x)

`Program` says what a model costs and reveals; `Session` runs it. Names are imported when they are first used, so
that a process loads only what it needs.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

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
from .version import VERSION as __version__

if TYPE_CHECKING:
    from .analysis.cost import Cost, OpCost
    from .execution.stats import Stats
    from .models import calibrate, forest_of, from_sklearn, from_torch, import_onnx
    from .program import Program, compile, connect, deal, launch, load
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
    **dict.fromkeys(("Cost", "OpCost"), "analysis.cost"),
    "Dealt": "store.deal",
    **dict.fromkeys(("Epoch", "History", "ReferenceFit"), "sessions.history"),
    **dict.fromkeys(("Program", "compile", "connect", "deal", "launch", "load"), "program"),
    "Session": "session",
    "Stats": "execution.stats",
    **dict.fromkeys(("calibrate", "forest_of", "from_sklearn", "from_torch", "import_onnx"), "models"),
}


def __getattr__(name: str) -> Any:
    """A public name, or a module of the package, when it is asked for."""
    if name in _LATER:
        return globals().setdefault(name, getattr(import_module(f".{_LATER[name]}", __name__), name))
    if name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    """Every public name, those included that are loaded when they are asked for."""
    return sorted({*globals(), *__all__})
