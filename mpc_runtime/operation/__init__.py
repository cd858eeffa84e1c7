"""Watching servers: what they tell of themselves, and how it becomes log lines, metrics and traces."""
