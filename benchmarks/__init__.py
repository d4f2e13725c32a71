"""What measures speed and bytes; run by hand, never a timed test: ``python -m benchmarks``."""
