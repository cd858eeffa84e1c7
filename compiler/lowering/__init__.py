"""The parts of `compiler.lower`: names, public numbers, expressions, calls, layers, blocks and weights."""
