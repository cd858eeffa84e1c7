"""A session from the inside: one plan on its servers, many rows, the batch that serves them best, whose turn it is."""
