"""Benchmarks: `python -m benchmarks` runs all and prints one table; `--smoke` runs each at a size that takes a moment.

Each module has a fixed seed and measures, in the same run, what it is compared with; what counts is the ratio. The
digest of its result shows that a faster run gave the same answer.
"""
