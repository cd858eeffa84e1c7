"""Benchmarks: kernels, gates, models, the network by a delaying relay, and peers on the same work."""
