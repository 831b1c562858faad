"""The lock of a run directory: at most one process trains there, also on a shared file system.

``lock.json`` says who holds it; its modification time is the heartbeat. No flock, which many shared file systems lack.

A dead holder's lock may not simply be removed: of two processes that find it stale, the slower one would remove the
faster one's new lock. So whoever wants to succeed the holder with token T first makes the *claim* on T, a file named
after it, which only one can (``os.link`` fails where the name exists); only the claimant then renames the claim to
``lock.json``. A claimant that dies in between is succeeded in the same way, by a claim on its claim. So the files form
a chain, and its end holds the lock. After the rename, the process whose token is in ``lock.json`` has it, whatever
happened meanwhile. Files of killed claimants end in ``.tmp`` as all leftovers do (``files.remove_leftovers``).
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from droq_exp.runs.process import Process, slurm_says_gone

LOCK = "lock.json"
HEARTBEAT_SECONDS = 10.0
STALE_AFTER = 120.0  # seconds; far above the heartbeat's, as clients of NFS show times that are up to a minute old
ATTEMPTS = 100
# What link() answers on file systems without hard links.
NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    ``process`` and ``acquired`` (UTC, ISO 8601) are None where the lock's file is damaged; ``heartbeat_age`` is in
    seconds.
    """

    process: Process | None
    acquired: str | None
    token: str
    heartbeat_age: float

    def alive(
        self, queue_says_gone: Callable[[Process], bool] | None = None, *, stale_after: float = STALE_AFTER
    ) -> bool:
        """Whether the holder still trains, by the first of these that knows.

        This host, where the process ran here; its SLURM job, where we are a later start of the same; the queue
        (``queue_says_gone`` is asked for a process with a job id only, and says False where it does not know); the
        heartbeat's age, in seconds.
        """
        if self.process is not None:
            lives = self.process.lives()
            if lives is not None:
                return lives
            if self.process.requeued_as(Process.current()):
                return False
            if self.process.job_id is not None and queue_says_gone is not None and queue_says_gone(self.process):
                return False
        return self.heartbeat_age < stale_after

    def __str__(self) -> str:
        """Who, since when, and the age of the heartbeat, in words."""
        who = "an unknown process (its file is damaged)" if self.process is None else str(self.process)
        since = "" if self.acquired is None else f" since {self.acquired}"
        return f"{who}{since}, last heartbeat {self.heartbeat_age:.0f} s ago"


class HeldError(Exception):
    """Another process has the lock; ``str`` is one line that says which, and what to do if it is gone."""

    def __init__(self, directory: Path, owner: Owner, stale_after: float) -> None:
        """``stale_after``: the heartbeat's age in seconds from which on the lock can be taken over."""
        self.directory, self.owner = directory, owner
        super().__init__(
            f"{directory} is in use by {owner}. If that process is gone, try again {stale_after:.0f} s after its last "
            f"heartbeat, or remove {directory / LOCK} now"
        )


class RunLock:
    """The lock of one directory, held from ``acquire`` to ``release`` (or the end of the ``with`` block).

    A daemon thread renews the heartbeat. A process forked from the holder does not hold it and cannot release it.
    """

    def __init__(self, directory: Path, token: str, heartbeat_seconds: float) -> None:
        """Use ``RunLock.acquire``."""
        self.directory = directory
        self._token = token
        self._pid = os.getpid()
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, args=(heartbeat_seconds,), name=f"heartbeat {directory}", daemon=True
        )
        self._thread.start()

    @classmethod
    def acquire(
        cls, directory: Path, *, heartbeat_seconds: float = HEARTBEAT_SECONDS, stale_after: float = STALE_AFTER
    ) -> Self:
        """Take the lock of ``directory``, which exists; a lock whose holder is gone is taken over.

        Args:
            directory: what to lock.
            heartbeat_seconds: time between two heartbeats.
            stale_after: age of the heartbeat, in seconds, from which on a holder of whom nothing else is known is gone.

        Raises:
            HeldError: another process (or this one) has it.
            OSError: the directory cannot be written, or the lock's files cannot be read.

        """
        directory = directory.absolute()  # the heartbeat goes on where the process changes its directory
        for _ in range(ATTEMPTS):
            token = uuid.uuid4().hex
            with _draft(directory, token) as draft:
                chain = _chain(directory, draft.stat().st_mtime)
                if chain and chain[-1].alive(slurm_says_gone, stale_after=stale_after):
                    raise HeldError(directory, chain[-1], stale_after)
                # The holder's start-up may remove drafts and claims as the leftovers that they look like; try again.
                with suppress(FileNotFoundError):
                    taken = _succeed(directory, draft, token, chain) if chain else _create(draft, directory / LOCK)
                    if taken:
                        return cls(directory, token, heartbeat_seconds)
        raise OSError(errno.EAGAIN, f"gave up after {ATTEMPTS} attempts to take the lock", str(directory / LOCK))

    def release(self) -> None:
        """Give the lock back; where it was lost, or never this process's, whoever has it keeps it."""
        if os.getpid() != self._pid or self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        if not self._holds():
            return
        # Somebody may be taking over at this moment; so this too goes by a claim.
        with _draft(self.directory, uuid.uuid4().hex) as draft:
            claim = _claim(self.directory, self._token)
            self._lost = not _create(draft, claim)
            if self._lost:
                return
            try:
                if self._holds():
                    (self.directory / LOCK).unlink()
            finally:
                claim.unlink(missing_ok=True)

    @property
    def lost(self) -> bool:
        """Whether the last heartbeat found that another process has taken the lock, or that its file was removed."""
        return self._lost

    def __enter__(self) -> Self:
        """Nothing more: it is held since ``acquire``."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it."""
        self.release()

    def _beat(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            # A file server that does not answer for a while is no loss of the lock.
            with suppress(OSError):
                if not self._holds():
                    return
                os.utime(self.directory / LOCK)  # now, by the server's clock

    def _holds(self) -> bool:
        self._lost = not _has_token(self.directory / LOCK, self._token)
        return not self._lost


def owner(directory: Path, now: float | None = None) -> Owner | None:
    """Who holds the lock of ``directory``; None where nobody does.

    ``now`` is ``filesystem_time`` of any directory on the same file system, to ask for it once for many; None asks it.
    """
    chain = _chain(directory, now)
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


def _chain(directory: Path, now: float | None) -> list[Owner]:
    """The holder in ``lock.json`` and those who took over from one another since; the last one holds the lock."""
    chain: list[Owner] = []
    path = directory / LOCK
    while True:
        content = _read(path)
        if content is None:
            return chain
        now = filesystem_time(directory) if now is None else now
        chain.append(_parse(*content, now))
        path = _claim(directory, chain[-1].token)


def _succeed(directory: Path, draft: Path, token: str, chain: list[Owner]) -> bool:
    """Take over from the last of ``chain``, which is dead; False where the lock has changed meanwhile."""
    tokens = [owner.token for owner in chain]
    claims = [_claim(directory, dead) for dead in tokens]
    if not _create(draft, claims[-1]):
        return False
    if [owner.token for owner in _chain(directory, 0.0)] != [*tokens, token]:
        claims[-1].unlink(missing_ok=True)  # another one had succeeded before; this claim is on nothing
        return False
    # Backwards, so that we stay the end of the chain. A file that is missing was moved by a claimant taken for dead,
    # which may have moved ours in its place: the check below decides for both.
    with suppress(FileNotFoundError):
        for target, claim in reversed(list(pairwise([directory / LOCK, *claims]))):
            os.rename(claim, target)
    return _has_token(directory / LOCK, token)


def _claim(directory: Path, token: str) -> Path:
    return directory / f".{LOCK}.{token}.claim.tmp"


@contextmanager
def _draft(directory: Path, token: str) -> Iterator[Path]:
    """A lock file of this process under a name of its own, to be linked to the name that is wanted."""
    content = {**asdict(Process.current()), "token": token, "acquired": datetime.now(UTC).isoformat(timespec="seconds")}
    path = directory / f".{LOCK}.{uuid.uuid4().hex}.tmp"
    try:
        _write(path, json.dumps(content, indent=2).encode())
        yield path
    finally:
        path.unlink(missing_ok=True)


def _create(draft: Path, path: Path) -> bool:
    """Give ``draft`` the name ``path`` too; False where there is such a file."""
    try:
        os.link(draft, path)
    except FileExistsError:
        # On NFS the answer to a request may get lost; the request repeated then finds what the first one made.
        return draft.stat().st_nlink > 1
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        return _copy(draft, path)
    return True


def _copy(draft: Path, path: Path) -> bool:
    """As ``_create``, without hard links: exclusive too, but a reader may see half of the file."""
    try:
        _write(path, draft.read_bytes())
    except FileExistsError:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.utime(path)  # by the server's clock; data still on their way have the client's


def _read(path: Path) -> tuple[bytes, int] | None:
    """Content and modification time (ns) of a lock file; None where there is none."""
    try:
        with open(path, "rb") as file:  # opening it makes NFS ask for the modification time anew
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _parse(data: bytes, heartbeat: int, now: float) -> Owner:
    age = max(0.0, now - heartbeat / 1e9)
    try:
        content = json.loads(data)
        if not isinstance(content, dict) or not all(isinstance(content.get(key), str) for key in ("token", "acquired")):
            raise ValueError("no lock file")
        if not content["token"].isalnum():  # it becomes part of a file's name
            raise ValueError("no token")
        return Owner(Process.from_json(content), content["acquired"], content["token"], age)
    except (
        ValueError,
        RecursionError,
    ):  # a broken disk, or half of it is written: there is no holder to ask about, only an age
        return Owner(None, None, f"damaged-{heartbeat}", age)


def _has_token(path: Path, token: str) -> bool:
    content = _read(path)
    return content is not None and _parse(*content, 0.0).token == token
