"""Ranges that nobody has to guess: from the actual weights, proved or measured, written into the source."""
