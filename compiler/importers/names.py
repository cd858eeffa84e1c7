"""Names of the language from those of a graph: readable where the exporter left a name, unique, and no keyword."""

from __future__ import annotations

import re

from dsl.grammar import keywords

AUTOMATIC = re.compile(
    r"^(onnx::.*|_?v(al)?_\d+|\d+|x?\.?\d+|[a-z]\w?\.\d+|getitem(_\d+)?|input\.\d+|_?to_copy.*|const(ant)?_?.*|shape_.*|tensor_?\d*)$",
    re.IGNORECASE,
)
"""What exporters call values that nobody named."""

OPERATION = re.compile(r"^[A-Z][A-Za-z0-9]*(_\d+)?$")
"""What PyTorch calls a value of a module that is called by nothing but its operator: `Add_4`."""

TITLES = re.compile(r"^([0-9a-f]{32}|main_graph|torch_jit|torch-jit-export|graph)$")
"""What exporters call a model."""

OWN = ("weight", "bias", "running_mean", "running_var", "scale", "kernel", "gamma", "beta", "MatMul", "B", "W")
"""Last parts of the names of parameters: what stands before them is the layer."""

NOISE = re.compile(r"(_output_\d+|_quant|:\d+|/ReadVariableOp|/Cast|/BiasAdd|/resource)", re.IGNORECASE)
RESERVED = ("p0", "p1", "dealer", "fixed", "int", "bit")
LONGEST = 40


class Names:
    """The names that a program has so far."""

    def __init__(self, taken: tuple[str, ...] = ()) -> None:
        self._taken = {*RESERVED, *taken}

    def fresh_in_both(self, other: Names, wanted: str, otherwise: str) -> str:
        """A name like the one wanted that neither program has so far, and both have now."""
        name = other.fresh(wanted, otherwise, frozenset(self._taken))
        self._taken.add(name)
        return name

    def take(self, other: Names) -> None:
        """No name of the other program is given out any more."""
        self._taken |= other._taken

    def fresh(self, wanted: str, otherwise: str = "x", avoid: frozenset[str] = frozenset()) -> str:
        """A name like the one wanted. One that was given out before, is a keyword or is in `avoid` gets a number."""
        base = cleaned(wanted) or otherwise
        name, count = base, 1
        while name in self._taken or name in keywords() or name in avoid:
            count += 1
            name = f"{base}_" if count == 2 and base in keywords() else f"{base}{count}"
        self._taken.add(name)
        return name


def is_automatic(name: str) -> bool:
    return not name or AUTOMATIC.match(name) is not None


def cleaned(name: str) -> str:
    """Letters, digits and `_` only, from the last letters of a path that is too long; "" for one that says nothing."""
    if is_automatic(name):
        return ""
    text = re.sub(r"[^A-Za-z0-9]+", "_", NOISE.sub("", name)).strip("_")
    while len(text) > LONGEST and "_" in text:
        text = text.partition("_")[2]
    if not text:
        return ""
    return f"_{text}" if text[0].isdigit() else text


def path_of(name: str) -> str:
    """The layer that a parameter belongs to, by its name: `layer1.0.conv1` of `layer1.0.conv1.weight`."""
    parts = [part for part in re.split(r"[./]", NOISE.sub("", name)) if part]
    while len(parts) > 1 and (parts[-1] in OWN or parts[-1].rstrip("0123456789_") in OWN):
        parts.pop()
    return ".".join(parts)
