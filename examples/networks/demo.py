"""Complete a text whose words stay secret, by a model that stays secret: `python -m examples.networks.demo [WORDS]`.

The generation loop is the client's: each run tells it one more word, which it puts behind the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np

import mpc_runtime as mpc
from examples.networks.draw import HERE, weights

SIZES = {"positions": 16, "blocks": 2, "width": 64, "hidden": 128, "words": 100}


def generate(
    answer: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    prompt: list[int],
    count: int,
    positions: int = SIZES["positions"],
) -> list[int]:
    """The prompt and `count` more words, each the likeliest one. answer: the model on one batch of a single text."""
    text = list(prompt)
    for _ in range(count):
        ids = np.zeros((1, positions), np.int64)
        ids[0, : len(text)] = text
        text.append(int(answer({"ids": ids, "last": np.array([len(text) - 1])})["next"][0]))
    return text


def main(count: int = 5) -> None:
    program = mpc.compile(HERE / "decoder.ppml", dims=SIZES)
    params, prompt = weights(program), [7, 21, 3]
    with mpc.launch(program) as session:
        session.provide(params)
        private = generate(session.run, prompt, count)
        stats = session.stats
    plain = generate(partial(program.reference, params=params), prompt, count)
    print(f"prompt              {prompt}")
    print(f"private, completed  {private[len(prompt) :]}")
    print(f"plaintext           {plain[len(prompt) :]}")
    print(stats)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
