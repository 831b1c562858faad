"""Memory of this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def resident_bytes() -> int | None:
    """What is in memory now; None where the system does not tell as Linux does."""
    return _of_process("VmRSS")


def peak_bytes() -> int:
    """The most that was in memory at once."""
    # Not getrusage, where Linux says: there a process starts at the peak of the one that started it.
    peak = _of_process("VmHWM")
    if peak is not None:
        return peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _of_process(field: str) -> int | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        (line,) = [line for line in status.splitlines() if line.startswith(f"{field}:")]
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return None
