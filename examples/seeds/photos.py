"""Draw photographs of seeds, 16x16 pixels in three colours: a stand-in for a grower's pictures, which nobody publishes.

Each variety has a size, a shape, a colour, a crease along its length and a speckle of its own; place, angle, light and
camera noise vary from picture to picture, so that single pixels say little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 16  # pixels along each side


@dataclass(frozen=True)
class Variety:
    """What the seeds of one variety have in common; lengths in pixels, colours and depths in 0 to 1."""

    name: str
    length: float  # half of the longer axis
    width: float  # half of the shorter axis
    colour: tuple[float, float, float]
    crease: float  # how much darker the line along the longer axis is
    speckle: float  # standard deviation of the texture


VARIETIES = (
    Variety("wheat", 5.5, 2.8, (0.80, 0.62, 0.36), crease=0.5, speckle=0.04),
    Variety("barley", 6.5, 2.2, (0.82, 0.70, 0.42), crease=0.3, speckle=0.04),
    Variety("rice", 6.0, 1.8, (0.90, 0.86, 0.76), crease=0.0, speckle=0.02),
    Variety("bean", 5.5, 3.8, (0.58, 0.38, 0.30), crease=0.0, speckle=0.16),
    Variety("lentil", 4.2, 4.0, (0.62, 0.52, 0.30), crease=0.0, speckle=0.08),
)


def draw(count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`count` pictures, `[count, 3, SIZE, SIZE]` in 0 to 1, and the index of each one's variety, `[count]`."""
    label = rng.integers(len(VARIETIES), size=count)
    length, width, crease, speckle = (
        np.array([getattr(v, name) for v in VARIETIES])[label, None, None]
        for name in ("length", "width", "crease", "speckle")
    )
    colour = np.array([v.colour for v in VARIETIES])[label] + rng.normal(0, 0.04, (count, 3))
    length, width = (axis * rng.normal(1, 0.08, (count, 1, 1)) for axis in (length, width))

    angle = rng.uniform(0, np.pi, (count, 1, 1))
    place = SIZE / 2 - 0.5 + rng.uniform(-1, 1, (2, count, 1, 1))
    y, x = np.mgrid[:SIZE, :SIZE]
    along = (x - place[0]) * np.cos(angle) + (y - place[1]) * np.sin(angle)
    across = (y - place[1]) * np.cos(angle) - (x - place[0]) * np.sin(angle)
    inside = 1 / (1 + np.exp(8 * (np.hypot(along / length, across / width) - 1)))  # a soft edge of about a pixel

    shade = 1 - crease * np.exp(-((across / 0.8) ** 2)) + speckle * rng.normal(size=along.shape)
    light = rng.uniform(0.75, 1.1, (count, 1, 1, 1))
    table = rng.uniform(0.05, 0.25, (count, 1, 1, 1))  # the dark cloth below the seed
    seed = colour[:, :, None, None] * shade[:, None]
    photo = light * (table + inside[:, None] * (seed - table)) + rng.normal(0, 0.02, (count, 3, SIZE, SIZE))
    return np.clip(photo, 0, 1).astype(np.float32), label
