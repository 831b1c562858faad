"""The state of a run, from its files and from real processes; SLURM's part is tested with a real SLURM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from droq_exp.jobs.queue import LocalJob, Queue, QueueUnreachableError, slurm_states
from droq_exp.jobs.record import JobRecord
from droq_exp.jobs.state import point_state
from droq_exp.runs.lock import RunLock
from droq_exp.runs.process import Process, slurm_says_gone
from droq_exp.runs.slurm_states import fate

BEFORE, SUBMITTED, AFTER = (f"2026-01-01T00:00:0{second}+00:00" for second in (0, 1, 2))


@pytest.fixture
def living() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n")


@pytest.fixture
def dead() -> str:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    job = LocalJob.of(process.pid, waiting=False)
    process.communicate(b"\n")
    return str(job)


def _state(directory: Path, state: str | None = None, job_id: str | None = None, **status: object) -> str:
    if state is not None:
        content = {"state": state, "step": 50, "started": BEFORE, "ended": AFTER} | status
        (directory / "status.json").write_text(json.dumps(content))
    if job_id is not None:
        JobRecord("local", job_id, SUBMITTED, "/log", ["seed=0"]).write(directory)
    return point_state(directory, 100, Queue())


def test_a_record_reads_as_written(tmp_path: Path) -> None:
    record = JobRecord("slurm", "123_4", SUBMITTED, "/log", ["algo=droq", "seed=3"])
    record.write(tmp_path / "new")
    assert JobRecord.read(tmp_path / "new") == record
    assert JobRecord.read(tmp_path) is None
    replace(record, cancelled=AFTER).write(tmp_path / "new")
    assert JobRecord.read(tmp_path / "new") == replace(record, cancelled=AFTER)
    old = {name: value for name, value in asdict(record).items() if name != "cancelled"}
    (tmp_path / "new" / "job.json").write_text(json.dumps(old))
    assert JobRecord.read(tmp_path / "new") == record


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"backend": 1}', '{"backend": "local", "job_id": "1"}'])
def test_a_damaged_record_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(ValueError, match=r"job\.json"):
        JobRecord.read(tmp_path)
    assert _state(tmp_path) == "failed"


def test_nothing_was_tried(tmp_path: Path) -> None:
    assert _state(tmp_path) == _state(tmp_path / "none") == "missing"


@pytest.mark.parametrize(
    ("state", "expected"), [("failed", "failed"), ("interrupted", "interrupted"), ("running", "vanished")]
)
def test_a_run_without_a_job(state: str, expected: str, tmp_path: Path) -> None:
    assert _state(tmp_path, state) == expected


def test_finished_is_all_steps_done(tmp_path: Path, living: int) -> None:
    assert _state(tmp_path, "finished", step=99) == "interrupted"
    assert _state(tmp_path, "finished", step=100) == "finished"
    assert _state(tmp_path, job_id=str(LocalJob.of(living, waiting=False))) == "finished"


def test_stopped_is_stopped_whatever_was_to_be_reached(tmp_path: Path, living: int) -> None:
    assert _state(tmp_path, "stopped", step=50) == "stopped"
    assert _state(tmp_path, job_id=str(LocalJob.of(living, waiting=False))) == "stopped"  # others of its pack go on


def test_a_living_job(tmp_path: Path, living: int) -> None:
    waiting, started = (str(LocalJob.of(living, waiting=waiting)) for waiting in (True, False))
    assert _state(tmp_path, job_id=waiting) == "queued"
    assert _state(tmp_path, "interrupted") == "queued"
    assert _state(tmp_path, job_id=started) == "running"
    assert _state(tmp_path, "running") == "running"
    assert _state(tmp_path, "failed") == "failed"  # while other seeds of its pack go on
    assert _state(tmp_path, "failed", ended=BEFORE) == "running"  # the attempt before


@pytest.mark.parametrize("state", [None, "running"])
def test_a_job_that_died_without_a_word(state: str | None, tmp_path: Path, dead: str) -> None:
    assert _state(tmp_path, state, dead) == "vanished"


@pytest.mark.parametrize("state", [None, "running"])
def test_a_job_that_was_cancelled_has_not_vanished(state: str | None, tmp_path: Path, living: int, dead: str) -> None:
    for job_id, expected in ((dead, "interrupted"), (str(LocalJob.of(living, waiting=True)), "interrupted")):
        JobRecord("local", job_id, SUBMITTED, "/log", ["seed=0"], cancelled=AFTER).write(tmp_path)
        assert _state(tmp_path, state) == expected
    JobRecord("local", str(LocalJob.of(living, waiting=False)), SUBMITTED, "/log", [], cancelled=AFTER).write(tmp_path)
    assert _state(tmp_path, state) == "running"  # until it has ended


def test_an_end_is_that_of_the_last_job(tmp_path: Path, dead: str) -> None:
    assert _state(tmp_path, "failed", dead) == "failed"
    assert _state(tmp_path, "interrupted") == "interrupted"
    assert _state(tmp_path, "interrupted", ended=BEFORE) == "vanished"


def test_a_pid_that_is_used_again_is_another_process(tmp_path: Path, living: int) -> None:
    job = LocalJob.of(living, waiting=False)
    assert _state(tmp_path, "running", str(job._replace(started=job.started - 1))) == "vanished"
    assert _state(tmp_path, "running", str(job._replace(host="elsewhere"))) == "vanished"


def test_a_silent_queue_says_nothing_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    JobRecord("slurm", "1", SUBMITTED, "/log", []).write(tmp_path)
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1\n")
    squeue.chmod(0o755)
    for path, message in ((f"{tmp_path}:{os.environ['PATH']}", "Unable to contact"), ("/nowhere", "not installed")):
        monkeypatch.setenv("PATH", path)
        with pytest.raises(QueueUnreachableError, match=message):
            point_state(tmp_path, 100, Queue())
        with pytest.raises(QueueUnreachableError, match=message):
            slurm_states(["1"])
    assert slurm_states([]) == {}
    assert _state(tmp_path, "finished", step=100) == "finished"  # whatever the queue would say


@pytest.mark.parametrize("variable", ["SQUEUE_STATES", "SQUEUE_PARTITION", "SLURM_TIME_FORMAT", "SQUEUE_FORMAT"])
def test_what_the_caller_asks_squeue_for_hides_no_job(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    JobRecord("slurm", "1", SUBMITTED, "/log", []).write(tmp_path)
    squeue = tmp_path / "squeue"
    squeue.write_text(f'#!/bin/sh\n[ -n "${variable}" ] || [ -z "$SLURM_CONF" ] || echo "1 RUNNING"\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")  # where the cluster is must be seen
    monkeypatch.setenv(variable, "anything")
    assert slurm_states(["1"]) == {"1": "RUNNING"}
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "home")
    holder = replace(Process.current(), job_id="1", cluster="home")
    assert not slurm_says_gone(holder)


def test_a_queue_that_says_nothing_of_a_job_does_not_say_that_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "home")
    holder = replace(Process.current(), job_id="1", cluster="home")
    for says, gone in (("", False), ("echo COMPLETED", True), ("echo Invalid job id specified >&2; exit 1", True)):
        (tmp_path / "squeue").write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / "squeue").chmod(0o755)
        assert slurm_says_gone(holder) == gone


def test_a_run_that_a_living_process_holds(tmp_path: Path, living: int) -> None:
    waiting = tmp_path / "waiting"
    waiting.mkdir()
    with RunLock.acquire(waiting):
        assert _state(waiting, "running", str(LocalJob.of(living, waiting=True))) == "running"
    with RunLock.acquire(tmp_path):
        assert _state(tmp_path, "running") == "running"
        assert _state(tmp_path, "failed") == "running"  # it has just begun anew
    assert _state(tmp_path, "running") == "vanished"


@pytest.mark.parametrize(
    ("state", "meaning"),
    [("REVOKED", "over"), ("RESV_DEL_HOLD", "waiting"), ("COMPLETING", "on a node"), ("OF_THE_FUTURE", "on a node")],
)
def test_what_a_state_of_slurm_means_stands_in_one_place(state: str, meaning: str) -> None:
    """For the queue and for the lock alike: the two once had tables of their own, which differed in these."""
    assert fate(state) == meaning
