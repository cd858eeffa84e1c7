"""Training: the gradients of a loss (`reverse.py`), and its float64 twin with the optimizers' formulas (`twin.py`,
`optimizers.py`). It adds to a graph, and leaves passes and expansion to others."""
