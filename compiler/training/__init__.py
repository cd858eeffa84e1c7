"""Training: the gradients of a loss (`reverse.py`). It adds to a graph and leaves passes and expansion to others."""
