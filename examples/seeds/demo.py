"""Tell varieties of seeds apart privately: `python -m examples.seeds.demo [PHOTOS]`, 20 if no number is given."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import mpc_runtime as mpc
from examples.seeds.photos import VARIETIES, draw

HERE = Path(__file__).parent
WEIGHTS = HERE / "seeds.safetensors"


def main(count: int = 20) -> None:
    photos, labels = draw(count, np.random.default_rng(2))  # train.py drew from other seeds
    program = mpc.compile(HERE / "seeds.ppml", dims={"batch": count})
    with mpc.launch(program) as session:
        session.provide(WEIGHTS)
        private = session.run(photo=photos)["variety"]
        stats = session.stats
    plain = program.reference(inputs={"photo": photos}, params=WEIGHTS)["variety"]

    print("seed      private                plaintext")
    for label, ours, theirs in zip(labels, private, plain, strict=True):
        found = (f"{VARIETIES[p.argmax()].name:8s} {p.max():.4f}" for p in (ours, theirs))
        print(f"{VARIETIES[label].name:9s}", *(f"{column:22s}" for column in found))
    print(f"accuracy, private    {(private.argmax(axis=1) == labels).mean():8.2%}")
    print(f"accuracy, plaintext  {(plain.argmax(axis=1) == labels).mean():8.2%}")
    print(f"largest difference   {abs(private - plain).max():.6f} in a probability")
    print(stats)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
