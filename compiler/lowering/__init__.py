"""From the syntax tree to the tensor graph (`model.py`): names, numbers, expressions, layers, blocks and weights."""
