"""Speed and memory of metaft beside its peers, measured alternately in one run: ``python -m benchmarks``."""
