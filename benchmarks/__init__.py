"""How fast the system is, measured: `python -m benchmarks` runs everything and writes `benchmarks/RESULTS.md`.

Ours and the obvious version (or a peer's) run alternately in one process, so that a busy machine slows both.
"""
