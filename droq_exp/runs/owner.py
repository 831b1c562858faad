"""Who holds the lock of a run directory, as its files say: what others may ask that do not want it themselves."""

from __future__ import annotations

import errno
import json
import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from droq_exp.runs.process import Process

LOCK = "lock.json"
STALE_AFTER = 120.0  # seconds; far above the heartbeat's, as clients of NFS show times that are up to a minute old


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    ``process`` and ``acquired`` (UTC, ISO 8601) are None where the lock's file is damaged. ``heartbeat`` is in
    nanoseconds since the epoch, ``heartbeat_age`` in seconds; it is negative where a clock was set back since.
    """

    process: Process | None
    acquired: str | None
    token: str
    heartbeat: int
    heartbeat_age: float

    def alive(
        self, queue_says_gone: Callable[[Process], bool] | None = None, *, stale_after: float = STALE_AFTER
    ) -> bool:
        """Whether the holder still trains: as :meth:`known_alive` knows it, or else by the heartbeat's age, in seconds.

        A heartbeat that is further ahead than that is as good as none: it would look fresh until the clock is there.
        """
        known = self.known_alive(queue_says_gone)
        return abs(self.heartbeat_age) < stale_after if known is None else known

    def known_alive(self, queue_says_gone: Callable[[Process], bool] | None = None) -> bool | None:
        """Whether the holder still trains, by the first of these that knows; None where none does.

        This host, where the process ran here; its SLURM job, where we are a later start of the same; the queue
        (``queue_says_gone`` is asked for a process with a job id only, and says False where it does not know).
        """
        if self.process is None:
            return None
        lives = self.process.lives()
        if lives is not None:
            return lives
        if self.process.requeued_as(Process.current()):
            return False
        if self.process.job_id is not None and queue_says_gone is not None and queue_says_gone(self.process):
            return False
        return None

    def __str__(self) -> str:
        """Who, since when, and the age of the heartbeat, in words."""
        who = "an unknown process (its file is damaged)" if self.process is None else str(self.process)
        since = "" if self.acquired is None else f" since {self.acquired}"
        ahead = self.heartbeat_age < -1
        when = f"{-self.heartbeat_age:.0f} s ahead of the clock" if ahead else f"{max(0, self.heartbeat_age):.0f} s ago"
        return f"{who}{since}, last heartbeat {when}"


def owner(directory: Path, now: float | None = None) -> Owner | None:
    """Who holds the lock of ``directory``; None where nobody does.

    ``now`` is ``filesystem_time`` of any directory on the same file system, to ask for it once for many; None asks it.
    """
    chain = chain_of(directory, now)
    return chain[-1] if chain else None


def filesystem_time(directory: Path) -> float:
    """Seconds since the epoch by the clock that stamps files in ``directory``; this host's where it cannot be written.

    Heartbeats are stamped by it. The clocks of the hosts that share a file system may differ by minutes.
    """
    probe = directory / f".{LOCK}.{uuid.uuid4().hex}.tmp"
    try:
        probe.touch(exist_ok=False)
        os.utime(probe)
        return probe.stat().st_mtime
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT}:
            raise
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def chain_of(directory: Path, now: float | None) -> list[Owner]:
    """The holder in ``lock.json`` and those who took over from one another since; the last one holds the lock."""
    chain: list[Owner] = []
    path = directory / LOCK
    while True:
        content = _read(path)
        if content is None:
            return chain
        now = filesystem_time(directory) if now is None else now
        chain.append(_parse(*content, now))
        path = claim_on(directory, chain[-1].token)


def claim_on(directory: Path, token: str) -> Path:
    """The file that only one process can make: the one that is to succeed the holder with ``token``."""
    return directory / f".{LOCK}.{token}.claim.tmp"


def _read(path: Path) -> tuple[bytes, int] | None:
    """Content and modification time (ns) of a lock file; None where there is none."""
    try:
        with open(path, "rb") as file:  # opening it makes NFS ask for the modification time anew
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _parse(data: bytes, heartbeat: int, now: float) -> Owner:
    age = now - heartbeat / 1e9
    try:
        content = json.loads(data)
        if not isinstance(content, dict) or not all(isinstance(content.get(key), str) for key in ("token", "acquired")):
            raise ValueError("no lock file")
        if not content["token"].isalnum():  # it becomes part of a file's name
            raise ValueError("no token")
        return Owner(Process.from_json(content), content["acquired"], content["token"], heartbeat, age)
    except (ValueError, RecursionError):  # a broken disk, or half of it is written: there is only an age to ask about
        return Owner(None, None, f"damaged-{heartbeat}", heartbeat, age)


def has_token(path: Path, token: str) -> bool:
    """Whether the lock file ``path`` is there and is that of ``token``."""
    content = _read(path)
    return content is not None and _parse(*content, 0.0).token == token
