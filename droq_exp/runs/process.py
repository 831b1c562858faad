"""A process, told apart from every other on any host, and what can be said about whether it still lives."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from droq_exp.runs.slurm_environment import plain_environment
from droq_exp.runs.slurm_states import fate

MOST_PID = 2**22  # of Linux
QUEUE_SECONDS = 30  # a busy controller answers late; one that is down, never


@dataclass(frozen=True)
class Process:
    """A process and the SLURM job that it belongs to, if any; what cannot be known is None.

    A pid alone says little: it is used again after the process's end (``process_start``, in clock ticks since boot),
    after a reboot (``boot_id``) and in another container on the same host (``pid_namespace``).
    """

    host: str
    pid: int
    process_start: int | None
    boot_id: str | None
    pid_namespace: str | None
    job_id: str | None
    """As squeue prints it: "123", or "123_4" for a task of an array."""
    restart_count: int
    """How often SLURM has requeued the job."""
    cluster: str | None

    @classmethod
    def current(cls) -> Self:
        """The process that calls this."""
        environment = os.environ
        job_id = environment.get("SLURM_JOB_ID")
        if "SLURM_ARRAY_JOB_ID" in environment and "SLURM_ARRAY_TASK_ID" in environment:
            job_id = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            process_start=start_of(os.getpid()),
            boot_id=_boot_id(),
            pid_namespace=_pid_namespace(),
            job_id=job_id,
            restart_count=int(environment.get("SLURM_RESTART_COUNT", "0")),
            cluster=environment.get("SLURM_CLUSTER_NAME"),
        )

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The process that ``dataclasses.asdict`` described; other keys are ignored.

        Raises ValueError where a key is missing or of the wrong type.
        """
        if not 0 < _required(content, "pid", int) <= MOST_PID:  # kill() means groups of processes by others
            raise ValueError(f"pid is {content['pid']}")
        text = {key: _typed(content, key, str) for key in ("boot_id", "pid_namespace", "job_id", "cluster")}
        return cls(
            host=_required(content, "host", str),
            pid=_required(content, "pid", int),
            process_start=_typed(content, "process_start", int),
            restart_count=_required(content, "restart_count", int),
            **text,
        )

    def __str__(self) -> str:
        """Such as ``process 4321 on node7 (SLURM job 123_4)``."""
        job = f" (SLURM job {self.job_id})" if self.job_id is not None else ""
        return f"process {self.pid} on {self.host}{job}"

    def lives(self) -> bool | None:
        """Whether it lives, as far as can be seen from this host; None where it cannot be seen from here."""
        here = (socket.gethostname(), _boot_id(), _pid_namespace())
        if here != (self.host, self.boot_id, self.pid_namespace) or None in (*here, self.process_start):
            return None
        return lives(self.pid, self.process_start)

    def requeued_as(self, other: Process) -> bool:
        """Whether ``other`` belongs to a later start of the same SLURM job, so that this one was ended by SLURM."""
        same = self.job_id is not None and (self.job_id, self.cluster) == (other.job_id, other.cluster)
        return same and other.restart_count > self.restart_count


def start_of(pid: int) -> int | None:
    """Start of the process ``pid`` of this host in clock ticks since boot; None where there is none, or its remains."""
    return _start(_stat(pid))


def lives(pid: int, started: int | None) -> bool | None:
    """Whether the process ``pid`` of this host that began at ``started`` lives; None where /proc hides it."""
    fields = _stat(pid)
    if fields:
        return _start(fields) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return None  # there is one, but another user's


def slurm_says_gone(process: Process) -> bool:
    """Whether SLURM says that no process of this one's job runs.

    False where it says the contrary or nothing: no SLURM here, another cluster, a controller that does not answer.
    """
    if process.job_id is None or process.cluster is None or process.cluster != _cluster():
        return False  # other clusters have the same job ids
    answer = _ask("squeue", "-h", "-t", "all", "-j", process.job_id, "-o", "%T")
    if answer is None:
        return False
    if answer.returncode != 0:
        return "Invalid job id" in answer.stderr  # ended so long ago that the controller has forgotten it
    states = answer.stdout.split()
    return bool(states) and all(fate(state) != "on a node" for state in states)  # no state is no word of its end


def _cluster() -> str | None:
    """Name of the cluster that SLURM's commands reach from here."""
    return os.environ.get("SLURM_CLUSTER_NAME") or slurm_setting("ClusterName")


def slurm_setting(name: str) -> str | None:
    """What SLURM's configuration says; None where SLURM does not answer."""
    answer = _ask("scontrol", "show", "config")
    if answer is None or answer.returncode != 0:
        return None
    pairs = (line.partition("=") for line in answer.stdout.splitlines())
    return next((value.strip() for key, _, value in pairs if key.strip() == name), None)


def _ask(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=QUEUE_SECONDS, env=plain_environment())
    except (OSError, subprocess.TimeoutExpired):
        return None


def _start(fields: list[str]) -> int | None:
    """Start of a process that runs, in clock ticks since boot; None where it is unknown or the process has ended."""
    return (
        int(fields[19]) if fields and fields[0] not in "ZX" else None
    )  # Z: only its parent has not asked how it ended


def _stat(pid: int) -> list[str]:
    """Fields of ``/proc/<pid>/stat`` from the third (the state) on; empty where it cannot be read."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the name before may hold spaces and parentheses


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        return None


def _pid_namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        return None


def _typed(content: dict[str, Any], key: str, kind: type) -> Any:
    value = content.get(key)
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{key} is {value!r}")
    return value


def _required(content: dict[str, Any], key: str, kind: type) -> Any:
    value = _typed(content, key, kind)
    if value is None:
        raise ValueError(f"{key} is missing")
    return value
