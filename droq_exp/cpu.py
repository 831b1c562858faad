"""What the CPU offers this process: cores, and bf16."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
CGROUP = Path("/sys/fs/cgroup")
CPUINFO = Path("/proc/cpuinfo")


def usable_cores() -> int:
    """Physical cores that this process may use, at least 1: by its affinity, and by the CPU quota of its container."""
    return max(1, min(physical_cores(os.sched_getaffinity(0), CPUS), quota(CGROUP)))


def usable_cpus() -> int:
    """Logical CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


def threads_of_user() -> int | None:
    """What OMP_NUM_THREADS asks for, at its first level; None where it is not set, or no such number."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() and int(first) > 0 else None


def machine_memory() -> int:
    """Bytes of memory that processes here share, by the machine and by the control group of this one."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(total, int((CGROUP / "memory.max").read_text()))
    except (OSError, ValueError):  # no such group, or "max"
        return total


def physical_cores(cpus: Iterable[int], tree: Path) -> int:
    """Count the cores of ``cpus``; hyper-threads of one core count once, as matrix multiplications gain nothing by two.

    ``tree`` is the kernel's directory of CPUs; one that it does not describe counts as a core.
    """
    cores = set()
    for cpu in cpus:
        try:
            cores.add((tree / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text())
        except OSError:
            cores.add(str(cpu))
    return len(cores)


def has_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices by instructions of its own (AVX512-BF16, AMX); slower without."""
    return "avx512_bf16" in instructions(CPUINFO).split()


@lru_cache
def instructions(cpuinfo: Path) -> str:
    """Linux's names of the CPU's instruction sets, in a line; nothing where ``cpuinfo`` does not tell them."""
    try:
        with cpuinfo.open() as lines:  # no further than needed: each core is described
            told = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return ""
    return told.partition(":")[2].strip()


def quota(tree: Path) -> int:
    """Whole CPUs that the control group at ``tree`` (version 2) grants; more than there are, where it has no limit."""
    try:
        granted, period = (tree / "cpu.max").read_text().split()
        return int(granted) // int(period)
    except (OSError, ValueError):  # no such group, or "max"
        return os.cpu_count() or 1
