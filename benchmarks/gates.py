"""Gates in bulk, in real processes: `python -m benchmarks.gates [NAME ...]`.

10^6 ReLU (with truncation and without), 10^6 products, a matrix product of two fresh secrets, comparisons by their
width. `measure.py` says what the columns are.
"""

from __future__ import annotations

from benchmarks.measure import arguments, measure_all
from benchmarks.workloads import GATES, make

if __name__ == "__main__":
    given = arguments(__doc__, GATES)
    measure_all("gates", map(make, given.names), given.runs, given.out)
