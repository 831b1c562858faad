"""Experiments with high-update-ratio actor-critics: SAC, REDQ, DroQ, DUVN and their relatives."""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# A thread that waits for another spins for a few microseconds and then leaves its core: by default it would spin on for
# so long that two processes with more threads than there are cores would keep the cores from each other. torch's OpenMP
# reads this when it is loaded, so it stands here; who sets one of the two decides himself.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

_FOUND_IN = {  # imported once they are used, since torch takes seconds; __init__.pyi tells type checkers
    "ConfigError": "droq_exp.config.errors",
    "CheckpointError": "droq_exp.runs.checkpoint",
    "HeldError": "droq_exp.runs.lock",
    "Run": "droq_exp.api",
    "load": "droq_exp.evaluation.load",
    "train": "droq_exp.api",
}
__all__ = [*_FOUND_IN, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _FOUND_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_FOUND_IN[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FOUND_IN})
