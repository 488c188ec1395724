"""Benchmarks of the system: `python -m benchmarks` runs all of them and writes `benchmarks/RESULTS.md`.

The code of the system and a simple or competing version run alternately in one process, so that load slows both.
"""
