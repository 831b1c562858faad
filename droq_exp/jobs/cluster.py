"""What the nodes of a SLURM cluster have, and whether a job can ever get what it is to ask for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

from droq_exp.config.errors import ConfigError, nearest
from droq_exp.config.schema import SlurmHardwareConfig
from droq_exp.jobs.plan import PlannedJob
from droq_exp.jobs.queue import QueueUnreachableError, asked

FORMAT = "%P|%c|%m|%G|%l"
GPUS = re.compile(r"gpu(?::[^:,(]+)?:(?P<count>\d+)")
LIMIT = re.compile(r"(?:(?P<days>\d+)-)?(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+)")


class Node(NamedTuple):
    """What one node offers in one partition."""

    partition: str
    cpus: int
    megabytes: int
    gpus: int
    minutes: float  # that a job may take

    @classmethod
    def parse(cls, line: str) -> Node:
        """From a line of sinfo in ``FORMAT``; ValueError where it is none."""
        partition, cpus, megabytes, devices, limit = line.split("|")
        gpus = sum(int(each["count"]) for each in GPUS.finditer(devices))
        return cls(partition.rstrip("*"), int(cpus), int(megabytes), gpus, _minutes(limit))


def check_requests(jobs: Sequence[PlannedJob]) -> None:
    """Refuse what no node will ever give: sbatch does, or leaves the job in the queue for ever.

    Where SLURM does not answer nothing is refused: sbatch will say what there is to say. Without a partition the
    cluster may choose any, so all count.

    Raises:
        ConfigError: the key whose value is too much, and how much there is.
    """
    asking = {json.dumps(asdict(job.hardware)): job.hardware for job in jobs}
    wanted = [each for each in asking.values() if isinstance(each, SlurmHardwareConfig)]
    nodes = _nodes() if wanted else []
    for hardware in wanted:
        _check_request(hardware, nodes)


def _nodes() -> list[Node]:
    """All of the cluster's, once for each of their partitions; none where SLURM does not answer."""
    try:
        told = asked("sinfo", "--all", "--noheader", "--Node", "--format", FORMAT).splitlines()
        return [Node.parse(line) for line in told if line.strip()]
    except (QueueUnreachableError, ValueError):
        return []


def _check_request(hardware: SlurmHardwareConfig, nodes: Sequence[Node]) -> None:
    if not nodes:
        return
    where = "here"
    if hardware.partition is not None:
        where, names = f"in partition {hardware.partition}", sorted({node.partition for node in nodes})
        for wanted in hardware.partition.split(","):
            if wanted not in names:
                problem = f"{wanted!r} is no partition of this cluster; it has {', '.join(names)}"
                raise ConfigError("hardware.partition", problem, nearest(wanted, names))
        nodes = [node for node in nodes if node.partition in hardware.partition.split(",")]
    megabytes = math.ceil(hardware.memory_gb * 1024)
    asked_for = (hardware.cpus, megabytes, hardware.gpus_per_node, hardware.hours * 60)
    offered = [node[1:] for node in nodes]
    keys = ("cpus", "CPUs"), ("memory_gb", "MB"), ("gpus_per_node", "GPUs"), ("hours", "minutes for a job")
    for (key, unit), most, wanted_of in zip(keys, map(max, zip(*offered, strict=True)), asked_for, strict=True):
        if wanted_of > most:
            problem = f"{getattr(hardware, key)}: no node {where} has more than {most:,.0f} {unit}"
            raise ConfigError(f"hardware.{key}", problem)
    if not any(all(has >= wanted_of for has, wanted_of in zip(node, asked_for, strict=True)) for node in offered):
        told = "hardware.cpus, memory_gb, gpus_per_node and hours"
        raise ConfigError("hardware", f"no node {where} has what {told} ask for together")


def _minutes(limit: str) -> float:
    """Such as 1-00:00:00, 30:00 or infinite."""
    found = LIMIT.fullmatch(limit)
    if found is None:
        return math.inf
    days, hours, minutes, seconds = (int(part or 0) for part in found.group("days", "hours", "minutes", "seconds"))
    return (days * 24 + hours) * 60 + minutes + seconds / 60
