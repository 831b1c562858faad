"""Experiments with high-update-ratio actor-critics: SAC, REDQ, DroQ, DUVN and their relatives."""

__version__ = "0.1.0"
