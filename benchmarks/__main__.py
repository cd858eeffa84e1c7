"""All benchmarks, one by one: `python -m benchmarks --out measured.jsonl`, then `python -m benchmarks.report` on it.

About a quarter of an hour on two cores; leave the machine alone meanwhile. The peers are installed if they are not yet.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

PARTS = ("startup", "kernels", "gates", "models", "network", "peers.compare")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="append JSON lines to this file")
    out = parser.parse_args().out
    for part in PARTS:
        print(f"\n{part}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{part}", "--out", out], check=False)
