"""The noise of a private release, added where it costs least: before a truncation that is still to come.

There the noise is in the mask of the truncation's opening. A value that stands at the format's scale already has its
noise shipped, a word an element, before it leaves. PROTOCOLS section 10.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from compiler.expand.context import Expansion
from compiler.expand.emitter import MAX_WIDTH, SHARE, Held, width
from compiler.graph import Kind, OpError, Output, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates
from mpc_runtime.errors import number
from mpc_runtime.plan import Noise
from mpc_runtime.privacy import noise as law

MAKERS = {"dealer": gates.DealerNoise, "parties": gates.PartyNoise}


def released(x: Expansion, output: Output, h: Held) -> tuple[Held, Value]:
    """What of an output is revealed: itself, or with its noise. OpError where the format has no room for that."""
    noise, value = output.noise, output.value
    if noise is None:
        return h, value
    plain = x.e.plain(h)
    for scale in dict.fromkeys((max(plain, x.e.scale(h)), plain)):
        found = _scale(noise, scale)
        if found is None:
            continue
        wide = law.reach(noise.law, *found) * 2.0**-scale * (2 if noise.made_by == "parties" else 1)
        range_ = value.range.widened(wide)
        if width(range_, scale, value.kind is not Kind.FIXED, most=64) <= MAX_WIDTH:
            return _noisy(x, output.name, noise, h, scale, found, range_), replace(value, range=range_)
    least = number((noise.sensitivity + noise.rounding) / noise.epsilon)
    raise OpError(
        f"the format has no room for the noise of `{output.name}`, which is at least {least} wide",
        "ask for a larger epsilon, or declare narrower ranges",
    )


def _scale(noise: Noise, scale: int) -> tuple[int, int] | None:
    """Of the noise in steps of what stands at `scale`."""
    steps = (Fraction(noise.sensitivity) + Fraction(noise.rounding)) * Fraction(2) ** scale
    return law.scale(noise.law, noise.epsilon, noise.delta, steps)


def _noisy(
    x: Expansion, name: str, noise: Noise, h: Held, scale: int, found: tuple[int, int], range_: Interval
) -> Held:
    numerator, denominator = found
    register = x.e.emit(
        MAKERS[noise.made_by],
        h.shape,
        SHARE,
        scale=scale,
        result_name=name,
        law=noise.law,
        numerator=numerator,
        denominator=denominator,
        x=x.e.share(h, scale)[0],
    )
    return Held(h.kind, h.shape, range_, {(SHARE, scale): register})
