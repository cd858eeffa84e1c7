# %% [markdown]
# # A private computation inside another program
#
# Open this file in an editor that knows `# %%` cells (VS Code, Spyder, PyCharm, Jupytext), or run it from the top:
# `python examples/notebook.py`. Two hospitals and a university want to know how the risk of their patients compares,
# by the university's secret formula; nobody shows its numbers to another.

# %%
import numpy as np

import mpc_runtime as mpc

MODEL = """
model comparison
role hospital[2], university
dim  patients = 50

input age      : [patients] from hospital in [0, 120]
input pressure : [patients] from hospital in [0, 300]      # systolic, mmHg
param weights_of_risk : [2] from university in [-1, 1]

# `from hospital` stacks what both provide: [2, patients]
risk    = sigmoid((age - 60) * weights_of_risk[0] + (pressure - 140) * weights_of_risk[1])
average = mean(risk, axis=1)

output average to hospital, university
output higher = average[0] > average[1] to university
output worst  = max(risk, axis=1) to university
"""

program = mpc.compile(text=MODEL)

# %% [markdown]
# What would it cost, and what would be revealed to whom? Both are read off the compiled plan, before anything runs.

# %%
print(program.cost)
print(*program.leakage, sep="\n")

# %% [markdown]
# The data. In reality each owner has a session of its own (`mpc.connect`); here one process plays all of them, so the
# values of both hospitals are stacked along a first axis.

# %%
rng = np.random.default_rng(0)
age = np.clip(rng.normal([[55.0], [63.0]], 12.0, (2, 50)), 0, 120)
pressure = np.clip(rng.normal([[135.0], [142.0]], 15.0, (2, 50)), 0, 300)
formula = {"weights_of_risk": np.array([0.05, 0.03])}

session = mpc.launch(program)  # the dealer and both compute parties, as processes on this machine
session.provide(formula)
result = session.run(age=age, pressure=pressure)

# %% [markdown]
# `reference` computes the meaning of the model on plaintext in float64. The private result differs by the rounding of
# fixed-point numbers only.

# %%
plain = program.reference(inputs={"age": age, "pressure": pressure}, params=formula)
for name, value in result.items():
    print(f"{name:8s} private {value}   plaintext {plain[name]}")
print(session.stats)

# %% [markdown]
# A value outside its declared range is refused at its owner, before anything is shared. The session goes on.

# %%
try:
    session.run(age=age + 100, pressure=pressure)
except mpc.InputError as error:
    print("refused:", error)

again = session.run(age=age, pressure=pressure)
print("average risk:", again["average"])
session.close()
