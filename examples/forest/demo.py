"""Judge tumours by a forest that stays secret: `python -m examples.forest.demo [PATIENTS]`, of 150."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import mpc_runtime as mpc

HERE = Path(__file__).parent
WEIGHTS = HERE / "forest.safetensors"


def main(count: int = 150) -> None:
    data = np.load(HERE / "forest.npz")
    patient, truth, judged = (data[key][:count] for key in ("patient", "malignant", "judged"))

    program = mpc.compile(HERE / "forest.ppml", dims={"batch": len(patient)})
    with mpc.launch(program) as session:
        session.provide(WEIGHTS)
        private = session.run(patient=patient)["malignant"] == 1
        stats = session.stats
    plain = program.reference(inputs={"patient": patient}, params=WEIGHTS)["malignant"] == 1

    print("patient   malignant   private   plaintext")
    for i in range(min(8, len(truth))):
        print(f"{i:7d}   {word(truth[i]):9s}   {word(private[i]):7s}   {word(plain[i])}")
    print(f"    ...   ({len(truth)} patients)")
    print(f"accuracy, private                  {(private == truth).mean():8.2%}")
    print(f"accuracy, plaintext                {(plain == truth).mean():8.2%}")
    print(f"the same answer as scikit-learn's  {(private == judged).mean():8.2%}")
    print(stats)


def word(malignant: np.bool_) -> str:
    return "yes" if malignant else "no"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
