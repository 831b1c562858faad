"""``droq-exp cancel``: of real local processes, and by what scancel is called with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from run_files import SUBMITTED, droq_exp, stand_in, write_job, write_run

from droq_exp.jobs.queue import LocalJob
from droq_exp.jobs.record import JobRecord
from droq_exp.runs.process import Process, start_of


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_only_what_is_queued_or_running_by_exact_ids_in_one_call(
    tmp_path: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(commands, "squeue", "7_0 RUNNING\n7_1 PENDING\n7_2 RUNNING\n8_0 RUNNING\n")
    calls = stand_in(commands, "scancel", "")
    for seed, job in enumerate(["7_0", "7_0", "7_1", "6_9"]):  # the first two are packed, the last one is gone
        write_job(write_run(tmp_path / "outputs" / "a" / f"seed_{seed}", None if job == "7_1" else "running"), job)
    write_job(write_run(tmp_path / "outputs" / "b" / "seed_0", "finished", step=10_000), "7_2")
    write_job(write_run(tmp_path / "other" / "seed_0", "running"), "8_0")
    assert droq_exp("cancel", str(tmp_path / "outputs")) == 0
    assert capsys.readouterr().out == "cancelling 3 runs: 2 SLURM jobs, 0 local runs\n"
    assert calls.read_text() == "7_0 7_1\n"


def test_a_job_with_other_runs_is_left_unless_it_is_asked_for(
    tmp_path: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(commands, "squeue", "7 RUNNING\n")
    calls = stand_in(commands, "scancel", "")
    for seed in (0, 1):
        write_job(write_run(tmp_path / f"seed_{seed}", "running"), "7")
    assert droq_exp("cancel", str(tmp_path / "seed_0")) == 2
    assert "seed_1 is running in the same job, 7; --whole-jobs ends it too" in capsys.readouterr().err
    assert calls.read_text() == ""
    assert droq_exp("cancel", str(tmp_path / "seed_0"), "--whole-jobs") == 0
    assert calls.read_text() == "7\n"
    records = [JobRecord.read(tmp_path / f"seed_{seed}") for seed in (0, 1)]
    assert all(record is not None and record.cancelled is not None for record in records)


def test_what_scancel_says_is_told(tmp_path: Path, commands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in(commands, "squeue", "7 RUNNING\n")
    stand_in(commands, "scancel", "", code=3)
    write_job(write_run(tmp_path / "seed_0", "running"), "7")
    assert droq_exp("cancel", str(tmp_path)) == 1
    assert capsys.readouterr().err == "scancel ended with code 3\n"


def test_without_the_queues_word_nothing_is_cancelled(
    tmp_path: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(commands, "squeue", "", code=1)
    calls = stand_in(commands, "scancel", "")
    write_job(write_run(tmp_path / "seed_0", "running"), "7")
    assert droq_exp("cancel", str(tmp_path)) == 2
    assert capsys.readouterr().err == "error: squeue ended with code 1\n"
    assert calls.read_text() == ""


def test_local_jobs_end_by_sigterm(
    tmp_path: Path, process: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    started, waiting = (str(LocalJob.of(process.pid, waiting=waiting)) for waiting in (False, True))
    for seed in (0, 1):
        write_job(write_run(tmp_path / f"seed_{seed}", "running"), started, backend="local")
    write_job(tmp_path / "seed_2", waiting, backend="local")
    assert droq_exp("cancel", str(tmp_path)) == 0
    assert capsys.readouterr().out == "cancelling 3 runs: 0 SLURM jobs, 3 local runs\n"
    assert process.wait(60) == -signal.SIGTERM
    record = JobRecord.read(tmp_path / "seed_2")
    assert record is not None
    assert record.cancelled is not None  # so that it is not started
    assert droq_exp("status", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert f"interrupted: seed_2: cancelled at {record.cancelled}" in out
    assert out.endswith("3 runs: 3 interrupted\n")


def test_a_job_that_only_waits_is_not_started_and_its_pool_goes_on(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    write_job(tmp_path / "seed_2", str(LocalJob.of(process.pid, waiting=True)), backend="local")
    assert droq_exp("cancel", str(tmp_path)) == 0
    assert process.poll() is None


def _held_by(run: Path, **process: object) -> Path:
    """A lock as that of the process, or of one like this one elsewhere."""
    content = {**asdict(Process.current()), **process, "token": "a", "acquired": SUBMITTED}
    (run / "lock.json").write_text(json.dumps(content))
    return run


def test_a_run_without_a_job_ends_by_its_lock(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    run = write_run(tmp_path / "seed_0", "running")
    _held_by(run, pid=process.pid, process_start=start_of(process.pid))
    assert droq_exp("cancel", str(tmp_path)) == 0
    assert process.wait(60) == -signal.SIGTERM


def test_whoever_trains_is_ended_too_or_named(
    tmp_path: Path, commands: Path, process: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """As two commands left it that submitted the same runs: job.json is of the job that did not get to train."""
    stand_in(commands, "squeue", "7_0 PENDING\n7_1 PENDING\n6_1 RUNNING\n")
    calls = stand_in(commands, "scancel", "")
    for seed in (0, 1):
        write_job(write_run(tmp_path / f"seed_{seed}", "running"), f"7_{seed}")
    _held_by(tmp_path / "seed_0", pid=process.pid, process_start=start_of(process.pid), job_id="6_0")
    _held_by(tmp_path / "seed_1", host="node7", job_id="6_1")
    droq_exp("status", str(tmp_path))
    assert capsys.readouterr().out.endswith("2 runs: 2 running\n")
    assert droq_exp("cancel", str(tmp_path)) == 1
    assert "seed_1: process" in (error := capsys.readouterr().err)
    assert "on node7 (SLURM job 6_1) trains it; end it there" in error
    assert process.wait(60) == -signal.SIGTERM
    assert calls.read_text() == "7_0 7_1\n"


def test_nothing_to_cancel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "seed_0", "finished", step=10_000)
    assert droq_exp("cancel", str(tmp_path)) == 0
    assert capsys.readouterr().out == "nothing is queued or running\n"
