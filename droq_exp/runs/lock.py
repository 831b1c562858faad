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
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from droq_exp.runs.guard import guard, unguard
from droq_exp.runs.owner import LOCK, STALE_AFTER, Owner, chain_of, claim_on, has_token
from droq_exp.runs.process import Process, slurm_says_gone

HEARTBEAT_SECONDS = 10.0
ATTEMPTS = 100
# What link() answers on file systems without hard links.
NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}

NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


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
    Meanwhile ``guard`` looks at it before anything in the directory is changed.
    """

    def __init__(self, directory: Path, token: str, heartbeat_seconds: float) -> None:
        """Use ``RunLock.acquire``."""
        self.directory = directory
        self._token = token
        self._pid = os.getpid()
        guard(directory, self.holds)
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
            try:
                with _draft(directory, token) as draft:
                    chain = chain_of(directory, draft.stat().st_mtime)
                    if chain and _is_alive(directory, chain[-1], heartbeat_seconds, stale_after):
                        raise HeldError(directory, chain[-1], stale_after)
                    taken = _succeed(directory, draft, token, chain) if chain else _create(draft, directory / LOCK)
                    if taken:
                        return cls(directory, token, heartbeat_seconds)
            except FileNotFoundError:
                # The holder, at its start and its end, removes drafts and claims as the leftovers that they look like.
                if not directory.is_dir():
                    raise
        raise OSError(errno.EAGAIN, f"gave up after {ATTEMPTS} attempts to take the lock", str(directory / LOCK))

    def release(self) -> None:
        """Give the lock back; where it was lost, or never this process's, whoever has it keeps it."""
        if os.getpid() != self._pid or self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        unguard(self.directory, self.holds)
        if not self.holds():
            return
        # Somebody may be taking over at this moment; so this too goes by a claim, but on a full disk.
        try:
            with _draft(self.directory, uuid.uuid4().hex) as draft:
                claim = claim_on(self.directory, self._token)
                if not _create(draft, claim):
                    return
                try:
                    self._remove()
                finally:
                    claim.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self._remove()

    def _remove(self) -> None:
        if has_token(self.directory / LOCK, self._token):
            (self.directory / LOCK).unlink()

    def holds(self) -> bool:
        """Whether this process has the lock still: its files, looked at now, name no other, nor were they removed."""
        return has_token(self.directory / LOCK, self._token) and not claim_on(self.directory, self._token).exists()

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
                if not self.holds():
                    return
                os.utime(self.directory / LOCK)  # now, by the server's clock


def _is_alive(directory: Path, owner: Owner, heartbeat_seconds: float, stale_after: float) -> bool:
    """Whether ``owner`` still trains; whose heartbeat is more than one ahead of the clock is watched for three."""
    if owner.heartbeat_age > -heartbeat_seconds or owner.known_alive(slurm_says_gone) is not None:
        return owner.alive(slurm_says_gone, stale_after=stale_after)
    seconds = 3 * heartbeat_seconds
    print(f"{directory}: waiting {seconds:.0f} s for a sign of life of {owner}", file=sys.stderr, flush=True)
    time.sleep(seconds)
    chain = chain_of(directory, 0.0)
    return bool(chain) and (chain[-1].token, chain[-1].heartbeat) != (owner.token, owner.heartbeat)


def _succeed(directory: Path, draft: Path, token: str, chain: list[Owner]) -> bool:
    """Take over from the last of ``chain``, which is dead; False where the lock has changed meanwhile."""
    tokens = [owner.token for owner in chain]
    claims = [claim_on(directory, dead) for dead in tokens]
    if not _create(draft, claims[-1]):
        return False
    if [owner.token for owner in chain_of(directory, 0.0)] != [*tokens, token]:
        claims[-1].unlink(missing_ok=True)  # another one had succeeded before; this claim is on nothing
        return False
    # Backwards, so that we stay the end of the chain. A file that is missing was moved by a claimant taken for dead,
    # which may have moved ours in its place: the check below decides for both.
    with suppress(FileNotFoundError):
        for target, claim in reversed(list(pairwise([directory / LOCK, *claims]))):
            os.rename(claim, target)
    return has_token(directory / LOCK, token)


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
