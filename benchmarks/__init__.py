"""How fast this project is on this machine: ``python -m benchmarks --help``."""
