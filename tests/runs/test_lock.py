"""One process at a time in a directory: real processes, real signals, and the files that other hosts would leave."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import holder
import pytest

from droq_exp.runs.lock import HeldError, RunLock
from droq_exp.runs.owner import filesystem_time, owner
from droq_exp.runs.process import Process

pytestmark = pytest.mark.program

RACERS, ROUNDS = 20, 5
ON_SLURM = {"SLURM_JOB_ID": "130", "SLURM_ARRAY_JOB_ID": "123", "SLURM_ARRAY_TASK_ID": "4"}


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``holder.start``, and whatever it started is ended afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start_one(directory: Path, **environment: str) -> subprocess.Popen[str]:
        started.append(holder.start(directory, **environment))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def leave_lock(directory: Path, age: float, **changes: Any) -> str:
    """Put a lock file there with a heartbeat of that age (s), another host's unless ``changes`` say more; its token."""
    with RunLock.acquire(directory):
        content = json.loads((directory / "lock.json").read_text())
    content |= {"host": "elsewhere", "boot_id": "another", "pid": 4321} | changes
    (directory / "lock.json").write_text(json.dumps(content))
    grow_old(directory / "lock.json", age)
    return content["token"]


def grow_old(path: Path, age: float) -> None:
    then = filesystem_time(path.parent) - age
    os.utime(path, (then, then))


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def ended_process() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


# Holding and releasing


def test_held_until_released_and_nothing_is_left(tmp_path: Path) -> None:
    with RunLock.acquire(tmp_path) as lock:
        who = owner(tmp_path)
        assert who is not None
        assert who.process == Process.current()
        assert who.alive()
        assert lock.holds()
        assert os.listdir(tmp_path) == ["lock.json"]
    assert os.listdir(tmp_path) == []
    assert owner(tmp_path) is None
    lock.release()  # once more does nothing
    with RunLock.acquire(tmp_path):
        assert owner(tmp_path) is not None


def test_the_second_process_says_who_holds_it(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    first = start(tmp_path, **ON_SLURM)
    assert holder.answer(first) == "held"
    with pytest.raises(HeldError) as refused:
        RunLock.acquire(tmp_path)
    text = str(refused.value)
    assert text.startswith(f"{tmp_path} is in use by process {first.pid} on {os.uname().nodename} (SLURM job 123_4) ")
    assert " since 20" in text
    assert "last heartbeat 0 s ago" in text
    assert text.endswith(
        f"If that process is gone, try again 120 s after its last heartbeat, or remove {tmp_path}/lock.json now"
    )
    assert os.listdir(tmp_path) == ["lock.json"]
    first.communicate()  # ends its stdin
    with RunLock.acquire(tmp_path):
        pass


def test_a_living_process_keeps_it_however_old_the_heartbeat(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = start(tmp_path)
    assert holder.answer(first) == "held"
    first.send_signal(signal.SIGSTOP)
    grow_old(tmp_path / "lock.json", 10_000)
    with pytest.raises(HeldError, match="last heartbeat 10000 s ago"):
        RunLock.acquire(tmp_path)


def test_this_process_cannot_have_it_twice(tmp_path: Path) -> None:
    with RunLock.acquire(tmp_path), pytest.raises(HeldError, match=f"process {os.getpid()} on"):
        RunLock.acquire(tmp_path)


def test_a_forked_process_cannot_release_it(tmp_path: Path) -> None:
    with RunLock.acquire(tmp_path) as lock:
        pid = os.fork()
        if pid == 0:
            lock.release()
            os._exit(0)
        os.waitpid(pid, 0)
        who = owner(tmp_path)
        assert who is not None
        assert who.process == Process.current()


def test_a_directory_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RunLock.acquire(tmp_path / "nowhere")


# Heartbeat and loss


def test_the_heartbeat_renews_the_files_time(tmp_path: Path) -> None:
    with RunLock.acquire(tmp_path, heartbeat_seconds=0.01):
        grow_old(tmp_path / "lock.json", 1000)
        wait_for(lambda: filesystem_time(tmp_path) - (tmp_path / "lock.json").stat().st_mtime < 500)


def test_a_lock_taken_by_another_is_noticed_and_left_to_it(tmp_path: Path) -> None:
    lock = RunLock.acquire(tmp_path, heartbeat_seconds=0.01)
    (tmp_path / "lock.json").unlink()
    with RunLock.acquire(tmp_path):
        wait_for(lambda: not lock.holds())
        before = (tmp_path / "lock.json").read_bytes()
        lock.release()
        assert (tmp_path / "lock.json").read_bytes() == before
        assert os.listdir(tmp_path) == ["lock.json"]


def test_a_removed_lock_is_noticed(tmp_path: Path) -> None:
    with RunLock.acquire(tmp_path, heartbeat_seconds=0.01) as lock:
        (tmp_path / "lock.json").unlink()
        wait_for(lambda: not lock.holds())
    assert os.listdir(tmp_path) == []


# Taking over


def test_a_killed_holder_is_succeeded_at_once(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    first = start(tmp_path)
    assert holder.answer(first) == "held"
    first.kill()
    # It is not waited for: a process that has ended, but whose parent has not asked how, is gone as well.
    wait_for(lambda: not owner(tmp_path).alive())  # type: ignore[union-attr]
    with RunLock.acquire(tmp_path):
        assert owner(tmp_path).process == Process.current()  # type: ignore[union-attr]
        assert os.listdir(tmp_path) == ["lock.json"]


@pytest.mark.parametrize(
    "changes",
    [{"pid": ended_process()}, {"process_start": 1}],
    ids=["no such process", "the pid is another process's now"],
)
def test_a_process_that_ended_on_this_host(tmp_path: Path, changes: dict[str, Any]) -> None:
    here = Process.current()
    leave_lock(tmp_path, 0, **{"host": here.host, "boot_id": here.boot_id, "pid": here.pid} | changes)
    with RunLock.acquire(tmp_path):
        pass


@pytest.mark.parametrize("key", ["host", "boot_id", "pid_namespace"])
def test_pids_of_elsewhere_say_nothing(tmp_path: Path, key: str) -> None:
    """Another host, another boot of this one or another container has other processes with these pids."""
    here = Process.current()
    same = {"host": here.host, "boot_id": here.boot_id, "pid": ended_process()}
    leave_lock(tmp_path, 100, **same | {key: "another"})
    with pytest.raises(HeldError):
        RunLock.acquire(tmp_path)
    with RunLock.acquire(tmp_path, stale_after=90):
        pass


def test_an_old_heartbeat_of_another_host(tmp_path: Path) -> None:
    leave_lock(tmp_path, 110)
    with pytest.raises(HeldError, match=r"process 4321 on elsewhere since .* last heartbeat 110 s ago"):
        RunLock.acquire(tmp_path)
    grow_old(tmp_path / "lock.json", 130)
    assert not owner(tmp_path).alive()  # type: ignore[union-attr]
    with RunLock.acquire(tmp_path):
        assert owner(tmp_path).heartbeat_age < 60  # type: ignore[union-attr]


@pytest.mark.parametrize("ahead", [3600, 100])
@pytest.mark.parametrize("beats", [False, True])
def test_a_heartbeat_ahead_of_the_clock_is_watched(
    tmp_path: Path, ahead: int, beats: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dead or alive shows within three heartbeats, and not when the clock has come to it."""
    lock = tmp_path / "lock.json"
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if beats:
            grow_old(lock, -ahead - 10)

    leave_lock(tmp_path, -ahead)
    monkeypatch.setattr(time, "sleep", sleep)
    if beats:
        with pytest.raises(HeldError, match=rf"last heartbeat {ahead} s ahead of the clock\. "):
            RunLock.acquire(tmp_path)
    else:
        with RunLock.acquire(tmp_path):
            assert owner(tmp_path).process == Process.current()  # type: ignore[union-attr]
    assert waited == [30]
    assert "waiting 30 s for a sign of life of process 4321 on elsewhere" in capsys.readouterr().err
    lock.unlink(missing_ok=True)
    leave_lock(tmp_path, -5)  # clocks differ a little
    with pytest.raises(HeldError):
        RunLock.acquire(tmp_path)
    lock.unlink()
    leave_lock(tmp_path, -ahead, host=Process.current().host, boot_id=Process.current().boot_id, pid=ended_process())
    with RunLock.acquire(tmp_path):
        assert waited == [30]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"token": "../x", "acquired": ""}', '{"token": "x", "acquired": ""}']
)
def test_a_damaged_lock_is_judged_by_its_age(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock.json").write_text(content)
    with pytest.raises(HeldError, match="an unknown process"):
        RunLock.acquire(tmp_path)
    grow_old(tmp_path / "lock.json", 130)
    with RunLock.acquire(tmp_path):
        assert os.listdir(tmp_path) == ["lock.json"]


def test_a_claimant_that_died_is_succeeded_too(tmp_path: Path) -> None:
    """Three deep, as if processes had been killed between their claim and the rename."""
    tokens = [leave_lock(tmp_path, 130)]
    names = ["lock.json"]
    for _ in range(2):
        names.append(f".lock.json.{tokens[-1]}.claim.tmp")
        (tmp_path / "next").mkdir()
        tokens.append(leave_lock(tmp_path / "next", 130))
        os.rename(tmp_path / "next" / "lock.json", tmp_path / names[-1])
        (tmp_path / "next").rmdir()
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    os.utime(tmp_path / names[-1])
    with pytest.raises(HeldError, match="last heartbeat 0 s ago"):  # the last one holds the lock
        RunLock.acquire(tmp_path)
    grow_old(tmp_path / names[-1], 130)
    with RunLock.acquire(tmp_path):
        assert os.listdir(tmp_path) == ["lock.json"]


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with RunLock.acquire(tmp_path), pytest.raises(HeldError):
        RunLock.acquire(tmp_path)
    assert os.listdir(tmp_path) == []
    leave_lock(tmp_path, 130)
    with RunLock.acquire(tmp_path):
        assert os.listdir(tmp_path) == ["lock.json"]


# SLURM


def test_a_requeued_job_succeeds_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ON_SLURM.items():
        monkeypatch.setenv(name, value)
    leave_lock(tmp_path, 0)
    with pytest.raises(HeldError, match=r"\(SLURM job 123_4\)"):  # the same start of the job, on another node
        RunLock.acquire(tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with RunLock.acquire(tmp_path):
        pass
    leave_lock(tmp_path, 0, job_id="123_5", restart_count=0)
    with pytest.raises(HeldError):
        RunLock.acquire(tmp_path)


@pytest.fixture
def squeue(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a program of this name first on PATH, with this shell script."""
    programs = tmp_path_factory.mktemp("programs")
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "here")

    def write(script: str) -> None:
        (programs / "squeue").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "squeue").chmod(0o755)

    return write


@pytest.mark.parametrize(
    ("script", "gone"),
    [
        ('[ "$*" = "-h -t all -j 77_1 -o %T" ] && echo RUNNING', False),
        ("echo COMPLETING", False),
        ("echo PENDING", True),
        ("echo TIMEOUT", True),
        ('[ "$*" = "-h -t all -j 77_1 -o %T" ]', False),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", True),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", False),
    ],
    ids=["running", "completing", "requeued", "over", "not listed", "forgotten", "no answer"],
)
def test_the_queue_says_whether_the_job_runs(
    tmp_path: Path, squeue: Callable[[str], None], script: str, gone: bool
) -> None:
    squeue(script)
    leave_lock(tmp_path, 0, job_id="77_1")
    if gone:
        with RunLock.acquire(tmp_path):
            pass
    else:
        with pytest.raises(HeldError):
            RunLock.acquire(tmp_path)
        grow_old(tmp_path / "lock.json", 130)
        with RunLock.acquire(tmp_path):
            pass


@pytest.mark.parametrize("cluster", ["another", None])
def test_the_queue_of_another_cluster_says_nothing(
    tmp_path: Path, squeue: Callable[[str], None], cluster: str | None
) -> None:
    squeue("")
    leave_lock(tmp_path, 0, job_id="77_1", cluster=cluster)
    with pytest.raises(HeldError):
        RunLock.acquire(tmp_path)


def test_the_queues_word_can_be_given(tmp_path: Path) -> None:
    leave_lock(tmp_path, 0, job_id="77_1")
    who = owner(tmp_path, now=filesystem_time(tmp_path))
    assert who is not None
    assert who.alive(lambda process: process.job_id != "77_1")
    assert not who.alive(lambda process: process.job_id == "77_1")


# Races


def test_one_that_judged_an_earlier_holder_comes_too_late(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """It asks the queue about a dead holder; before it has the answer, we have succeeded that holder."""
    directory, programs = tmp_path / "run", tmp_path / "programs"
    directory.mkdir()
    programs.mkdir()
    asked, answered = programs / "asked", programs / "answered"
    (programs / "squeue").write_text(f"#!/bin/sh\ntouch {asked}\nuntil [ -e {answered} ]; do sleep 0.01; done\n")
    (programs / "squeue").chmod(0o755)
    leave_lock(directory, 130, job_id="77_1", cluster="here")
    late = start(directory, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}", SLURM_CLUSTER_NAME="here")
    wait_for(asked.exists)
    with RunLock.acquire(directory):
        answered.touch()
        assert f" is in use by process {os.getpid()} on " in holder.answer(late)
        assert os.listdir(directory) == ["lock.json"]
        assert owner(directory).process == Process.current()  # type: ignore[union-attr]


def race(directories: list[Path], barrier: Barrier, results: Queue[tuple[int, str]]) -> None:
    """In each directory in turn, when all are ready: try, say how it went, hold what was got until all have tried."""
    for number, directory in enumerate(directories):
        barrier.wait()
        try:
            lock = RunLock.acquire(directory)
        except HeldError as error:
            results.put((number, str(error)))
            barrier.wait()
        else:
            results.put((number, "held"))
            barrier.wait()
            lock.release()


@pytest.mark.parametrize("kind", ["no lock", "stale by its process", "stale by its age"])
def test_one_of_many_gets_it(tmp_path: Path, kind: str) -> None:
    here = Process.current()
    directories = [tmp_path / str(number) for number in range(ROUNDS)]
    for directory in directories:
        directory.mkdir()
        if kind == "stale by its process":
            leave_lock(directory, 0, host=here.host, boot_id=here.boot_id, pid=ended_process())
        elif kind == "stale by its age":
            leave_lock(directory, 130)
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(RACERS), spawn.Queue()
    racers = [spawn.Process(target=race, args=(directories, barrier, results), daemon=True) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    told = [results.get(timeout=120) for _ in range(RACERS * ROUNDS)]
    for racer in racers:
        racer.join(timeout=120)
        assert racer.exitcode == 0
    for number, directory in enumerate(directories):
        answers = [answer for which, answer in told if which == number]
        assert answers.count("held") == 1
        assert all(" is in use by process " in answer for answer in answers if answer != "held")
        assert os.listdir(directory) == []
