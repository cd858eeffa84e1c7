"""What a user waits for before anything runs: `python -m benchmarks.startup`.

Each is a fresh process, the best of a few: `import mpc_runtime` (beyond what an empty interpreter takes), and the whole
of `mpcc compile` of LeNet, interpreter, imports and writing of the plan included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Column, Output, seconds

TRIES = 7
LENET = Path(__file__).resolve().parent.parent / "examples" / "lenet" / "lenet.ppml"
COLUMNS: tuple[Column, ...] = (("name", "", lambda name: f"{name:32}"), ("seconds", "seconds", seconds))


def fastest(code: str, *arguments: str) -> float:
    """Seconds of a fresh interpreter that runs this code."""
    best = float("inf")
    for _ in range(TRIES):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="append JSON lines to this file")
    output = Output("startup", parser.parse_args().out, COLUMNS)
    empty = fastest("pass")
    output.row({"name": "import mpc_runtime", "seconds": fastest("import mpc_runtime") - empty})
    with tempfile.TemporaryDirectory() as folder:
        plan = str(Path(folder) / "lenet.plan")
        command = "from compiler.cli import main; main()"
        taken = fastest(command, "compile", str(LENET), "-o", plan)
        output.row({"name": "mpcc compile lenet.ppml", "seconds": taken})


if __name__ == "__main__":
    main()
