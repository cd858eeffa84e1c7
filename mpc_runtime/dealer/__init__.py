"""The dealer of correlated randomness: `executor` reads the op-list on masks, `server` is its process."""
