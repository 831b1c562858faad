"""How fast this project is on this machine: ``python -m droq_exp.benchmark --help``."""
