"""Judge tumours on two owners' measurements: `python -m examples.cancer.demo`.

The clinic and the laboratory measured the same 150 patients; neither sees the other's columns or the registry's model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mpc_runtime as mpc

HERE = Path(__file__).parent
WEIGHTS = HERE / "cancer.safetensors"


def main() -> None:
    patients = np.load(HERE / "cancer.npz")
    measured = {"size": patients["size"], "texture": patients["texture"]}
    truth = patients["malignant"]

    program = mpc.compile(HERE / "cancer.ppml", dims={"batch": len(truth)})
    with mpc.launch(program) as session:
        session.provide(WEIGHTS)
        private = session.run(**measured)["malignant"][:, 0]
        stats = session.stats
    plain = program.reference(inputs=measured, params=WEIGHTS)["malignant"][:, 0]

    print("patient   malignant   private   plaintext")
    for i in range(8):
        print(f"{i:7d}   {'yes' if truth[i] else 'no':9s}   {private[i]:7.4f}   {plain[i]:9.4f}")
    print(f"    ...   ({len(truth)} patients)")
    print(f"accuracy, private    {((private > 0.5) == truth).mean():8.2%}")
    print(f"accuracy, plaintext  {((plain > 0.5) == truth).mean():8.2%}")
    print(f"largest difference   {abs(private - plain).max():.6f} in a probability")
    print(stats)


if __name__ == "__main__":
    main()
