"""The network between the parties, as the user describes it: by it the expansion weighs rounds against bytes."""

from __future__ import annotations

from compiler.expand.layouts import LAN, WAN, Network
from mpc_runtime.errors import InputError

__all__ = ["parse_network"]


def parse_network(text: str) -> Network:
    """lan, wan or rtt=40ms,bandwidth=100Mbps."""
    text = str(text)
    named = {"lan": LAN, "wan": WAN}.get(text.strip().lower())
    if named is not None:
        return named
    units = {"rtt": {"us": 1e-6, "ms": 1e-3, "s": 1.0}, "bandwidth": {"kbps": 1e3, "mbps": 1e6, "gbps": 1e9}}
    found: dict[str, float] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        key, value = key.strip().lower(), value.strip().lower()
        number = value.rstrip("abcdefghijklmnopqrstuvwxyz")
        unit = units.get(key, {}).get(value[len(number) :])
        try:
            amount = float(number)
        except ValueError:
            amount = 0.0
        if unit is None or amount <= 0:
            raise InputError(
                f"network: expected `lan`, `wan` or `rtt=40ms,bandwidth=100Mbps`, found {text!r}"
                f" (units: {', '.join(units['rtt'])} and {', '.join(units['bandwidth'])})"
            )
        found[key] = amount * unit
    return Network(found.get("rtt", LAN.round_trip), found.get("bandwidth", LAN.bandwidth))
