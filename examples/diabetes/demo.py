"""Predict the progression of diabetes with a secret linear model: `python -m examples.diabetes.demo`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mpc_runtime as mpc

HERE = Path(__file__).parent
WEIGHTS = HERE / "diabetes.safetensors"


def main() -> None:
    patients = np.load(HERE / "diabetes.npz")
    x, truth = patients["x"], patients["progression"]

    program = mpc.compile(HERE / "diabetes.ppml", dims={"batch": len(x)})
    with mpc.launch(program) as session:
        session.provide(WEIGHTS)
        private = session.run(x=x)["progression"][:, 0]
        stats = session.stats
    plain = program.reference(inputs={"x": x}, params=WEIGHTS)["progression"][:, 0]

    print("patient   after a year   private     plaintext")
    for i in range(8):
        print(f"{i:7d}   {truth[i]:12.0f}   {private[i]:9.4f}   {plain[i]:9.4f}")
    print(f"    ...   ({len(x)} patients)")
    print(f"mean error, private    {abs(private - truth).mean():8.3f}")
    print(f"mean error, plaintext  {abs(plain - truth).mean():8.3f}")
    print(f"largest difference     {abs(private - plain).max():8.6f}")
    print(stats)


if __name__ == "__main__":
    main()
