"""Sweeps on a real SLURM: what is submitted, what survives, what is told."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from sweep import SECONDS, Sweep, broken, job_end, job_field, kill, slurm, until

from droq_exp.jobs.queue import QUEUED, RUNNING, Queue, QueueUnreachable, slurm_states
from droq_exp.jobs.state import point_state


def _state(sweep: Sweep, seed: int = 0, total_steps: int = 300) -> str:
    return point_state(sweep.run(seed), total_steps, Queue())


def test_an_array_of_packed_seeds_with_a_failure_among_them(sweep: Sweep) -> None:
    command = ["seed=0,1,2,3,4", "hardware.seeds_per_job=2", *broken(1)]
    first = sweep.launch(*command)
    assert first.code == 1
    assert "5 missing: submitted" in first.out
    assert "3 jobs submitted" in first.out
    assert "4 finished" in first.out
    assert f"failed: {sweep.run(1)}: RuntimeError: the simulator broke (log: " in first.err
    assert [sweep.status(seed)["state"] for seed in range(5)] == ["finished", "failed", *["finished"] * 3]
    assert len(sweep.submissions()) == 1
    ids = [sweep.job_id(seed) for seed in range(5)]
    array = ids[0].removesuffix("_0")
    assert ids == [f"{array}_{index}" for index in (0, 0, 1, 1, 2)]
    # Training has told how each seed ended, and SLURM hears of it too.
    assert [job_end(job) for job in sorted(set(ids))] == ["FAILED", "COMPLETED", "COMPLETED"]
    assert sorted(os.listdir(sweep.directory)) == ["outputs"]

    again = sweep.launch(*command)
    assert again.code == 1
    assert "4 finished: nothing to do" in again.out
    assert "1 failed: submitted" in again.out
    assert "1 job submitted" in again.out
    assert [sweep.job_id(seed) for seed in (0, 2, 3, 4)] == [ids[seed] for seed in (0, 2, 3, 4)]
    assert sweep.job_id(1) != ids[1]


def test_jobs_go_on_without_the_head_and_are_found_again(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["seed=0,1", *sweep.gated, "hardware.array_parallelism=1"]
    head = sweep.start(*command)
    sweep.wait_for_step(50)
    os.kill(head.pid, signal.SIGINT)
    done = sweep.wait(head)
    assert done.code == 130
    assert "jobs go on" in done.err
    ids = [sweep.job_id(seed) for seed in (0, 1)]
    assert slurm_states(ids) == {ids[0]: RUNNING, ids[1]: QUEUED}

    with monkeypatch.context() as patch:  # a queue that does not answer is not an empty one
        patch.setenv("SLURM_CONF", str(_conf_of_a_controller_that_is_down(sweep)))
        with pytest.raises(QueueUnreachable):
            slurm_states(ids)
        done = sweep.launch(*command)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")

    head = sweep.start(*command)
    assert head.stdout is not None
    assert [head.stdout.readline() for _ in range(2)] == ["1 running: left alone\n", "1 queued: left alone\n"]
    os.kill(head.pid, signal.SIGKILL)
    sweep.wait(head)
    head = sweep.start(*command)
    sweep.open_gate()
    done = sweep.wait(head)
    assert done.code == 0, done.err
    assert done.out.endswith("2 finished\n")
    assert len(sweep.submissions()) == 1
    assert [sweep.job_id(seed) for seed in (0, 1)] == ids


def _conf_of_a_controller_that_is_down(sweep: Sweep) -> Path:
    path = sweep.directory.parent / "slurm.conf"
    text = Path(os.environ["SLURM_CONF"]).read_text()
    path.write_text(text.replace("SlurmctldPort=", "SlurmctldPort=1") + "MessageTimeout=2\n")
    return path


def test_a_cancelled_job_is_no_finished_run_and_is_submitted_again(sweep: Sweep) -> None:
    command = ["seed=0,1", *sweep.gated, "hardware.array_parallelism=1"]
    head = sweep.start(*command)
    sweep.wait_for_step(50)
    slurm("scancel", sweep.job_id(0).partition("_")[0])
    done = sweep.wait(head)
    assert done.code == 1
    assert f"interrupted: {sweep.run(0)}: interrupted by SIGTERM" in done.err
    assert f"vanished: {sweep.run(1)}" in done.err
    assert (_state(sweep, 0), _state(sweep, 1)) == ("interrupted", "vanished")
    sweep.open_gate()
    again = sweep.launch(*command)
    assert again.code == 0, again.err
    assert "1 interrupted: submitted" in again.out
    assert "1 vanished: submitted" in again.out


def test_a_killed_job_has_vanished(sweep: Sweep) -> None:
    head = sweep.start(*sweep.gated)
    sweep.wait_for_step(50)
    kill(sweep.job_id())
    done = sweep.wait(head)
    assert done.code == 1
    assert f"vanished: {sweep.run()}" in done.err
    assert sweep.status()["state"] == "running"  # nobody could write anything else
    sweep.open_gate()
    assert sweep.launch(*sweep.gated).code == 0


def test_a_requeued_job_goes_on_in_its_directory(sweep: Sweep) -> None:
    head = sweep.start(*sweep.gated)
    sweep.wait_for_step(50)
    job = sweep.job_id()
    slurm("scontrol", "requeue", job)
    until(lambda: job_field(job, "Restarts") == "1")
    assert _state(sweep) in ("queued", "running")
    sweep.open_gate()
    done = sweep.wait(head)
    assert done.code == 0, done.err
    assert sweep.job_id() == job
    assert len(sweep.submissions()) == 1
    assert sweep.log().count("Starting with JobEnvironment") == 2


def test_a_preempted_run_saves_and_is_requeued(sweep: Sweep) -> None:
    head = sweep.start(*sweep.gated)
    sweep.wait_for_step(50)
    job = sweep.job_id()
    slurm("scancel", "--signal=USR2", job)
    until(lambda: sweep.status()["state"] == "interrupted")
    assert sweep.status()["error"]["summary"] == "interrupted by SIGUSR2"
    until(lambda: job_field(job, "Restarts") == "1")
    assert _state(sweep) in ("queued", "running")
    sweep.open_gate()
    done = sweep.wait(head)
    assert done.code == 0, done.err
    assert job_field(job, "Restarts") == "1"
    assert len(sweep.submissions()) == 1
    assert (sweep.run() / "train.log").read_text().count("interrupted by SIGUSR2") == 1


def test_the_gpu_is_asked_for_here_and_looked_for_there(sweep: Sweep) -> None:
    gpu = ["hardware=slurm_gpu", "hardware.cpus=1", "hardware.setup=['echo given $CUDA_VISIBLE_DEVICES.']"]
    done = sweep.launch(*gpu, multirun=False)
    assert done.code == 1
    assert "hardware.device=cuda: no CUDA device here" in done.err
    assert "given 0." in sweep.log() or "given 1." in sweep.log()
    assert sweep.status()["state"] == _state(sweep) == "failed"
    assert sweep.status()["error"]["summary"] == "RuntimeError: hardware.device=cuda: no CUDA device here"
    assert job_end(sweep.job_id()) == "FAILED"


def test_what_cannot_be_submitted_is_one_line(sweep: Sweep) -> None:
    done = sweep.launch("hardware.partition=nowhere")
    assert (done.code, done.out) == (1, "1 missing: submitted\n")
    assert done.err.startswith("error: ")
    assert "invalid partition" in done.err
    assert done.err.count("\n") == 1
    assert not list(sweep.directory.glob("outputs/*/*/*/*/seed_*"))


def test_the_script_needs_two_arguments() -> None:
    script = Path(__file__).resolve().parent.parent.parent / "scripts" / "local_slurm.sh"
    done = subprocess.run([script, "begin"], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2
    assert "start DIR" in done.stderr
