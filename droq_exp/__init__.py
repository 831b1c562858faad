"""Experiments with high-update-ratio actor-critics: SAC, REDQ, DroQ, DUVN and their relatives."""

import os

__version__ = "0.1.0"

# A thread that waits for another spins for a few microseconds and then leaves its core: by default it would spin on for
# so long that two processes with more threads than there are cores would keep the cores from each other. torch's OpenMP
# reads this when it is loaded, so it stands here; who sets one of the two decides himself.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
