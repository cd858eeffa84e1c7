"""Private releases as roles receive them, from real processes: the noise has its law, and is new in every run."""

from __future__ import annotations

import math

import numpy as np

import mpc_runtime as mpc
from mpc_runtime.privacy.noise import gaussian_multiplier
from tests.mpc_runtime.privacy import chi

N, RUNS, FAR = 2000, 4, 5.0
TEXT = f"""model releases
role a, b
input x : [{N}] from a in [-1, 1]
input y : [{N}] from b in [-1, 1]
input k : int[{N}] from a in [0, 1]
output products = x * y to b with laplace(epsilon=1)
output words    = x * y to b with gaussian(epsilon=1, delta=1e-3)
output whole    = k + 3 to b with gaussian(epsilon=1, delta=1e-3) from parties
"""


def test_noise_of_many_releases() -> None:
    program = mpc.compile(text=TEXT)
    random = np.random.default_rng(3)
    inputs = {"x": random.uniform(-1, 1, N), "y": random.uniform(-1, 1, N), "k": np.arange(N) % 2}
    exact = program.reference(inputs)
    with mpc.launch(program) as session:
        released = [session.run(inputs) for _ in range(RUNS)]
        assert (session.stats.rounds, session.stats.online_bytes) == (program.cost.rounds, program.cost.online_bytes)
        assert session.stats.offline_bytes == program.cost.offline_bytes
    noise = {name: np.concatenate([each[name] - exact[name] for each in released]) for name in exact}
    sizes = {result.name: result.noise.sensitivity for result in program.plan.outputs if result.noise is not None}
    assert (sizes["products"], sizes["words"], sizes["whole"]) == (1, 1, 4)
    deviation = gaussian_multiplier(1.0, 1e-3)
    steps = {name: np.rint(noise[name] * 2**16) for name in ("products", "words")}
    assert abs(chi.excess(steps["products"], chi.laplace(2**16), 1 << 21, step=1 << 14)) < FAR
    assert abs(chi.excess(steps["words"], chi.gaussian(deviation * 2**16), 1 << 20, step=1 << 14)) < FAR
    assert noise["whole"].dtype.kind == "i", "whole numbers stay whole"
    assert abs(chi.excess(noise["whole"], chi.gaussian(4 * math.sqrt(2) * deviation), 200)) < FAR, "both parties'"
    first, second = (noise["products"][i * N : (i + 1) * N] for i in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < FAR / math.sqrt(N)


def test_a_simulation_has_the_noise_and_the_reference_has_none() -> None:
    program = mpc.compile(text=TEXT)
    inputs = {"x": np.ones(N), "y": np.ones(N), "k": np.zeros(N, int)}
    found = program.simulate(inputs)
    assert np.array_equal(program.reference(inputs)["products"], np.ones(N))
    for name in ("products", "words", "whole"):
        assert np.unique(found.results[name]).size > 5 and found.errors[name] > 1
