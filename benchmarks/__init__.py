"""Speed, memory and latency of the pool beside its peers: `python -m benchmarks --help`.

Not part of the installed package, and nothing here is a test: a figure from a shared machine swings by a
factor of two, so what counts is the ratio to a peer measured in the same run, a moment before or after.
"""
