"""Benchmarks: `python -m benchmarks` runs all and prints one table; `--smoke` runs each at a size that takes a moment.

Each module has a fixed seed and measures, in the same run and in turn, what it is compared with; what counts is the
ratio. Every way of doing a thing answers for its result, and the answers of all ways and rounds have to be the same;
their digest is printed, so that a faster run that gave another answer than one before shows too. What is to be reached
stands in each module, as `TARGETS`.
"""
