"""Readings of a graph or a plan: prints, the float64 meaning, the simulation, what a role's client prepares."""
