"""Differential privacy: noise that is drawn exactly, what it hides, and what has been spent."""
