"""Sweeps on a real SLURM: what is submitted, what survives, what is told."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sweep import GATED_STEPS, SECONDS, Done, Sweep, broken, job_end, job_field, kill, processes, slurm, until

from droq_exp.jobs.queue import QUEUED, RUNNING, Queue, QueueUnreachableError, slurm_states
from droq_exp.jobs.state import point_state


def _state(sweep: Sweep, seed: int = 0, total_steps: int = GATED_STEPS) -> str:
    return point_state(sweep.run(seed), total_steps, Queue())


def test_an_array_of_packed_seeds_with_a_failure_among_them(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a part of the user's own, submitted from within another job, whose variables are nothing to these jobs."""
    inside = ("SLURM_MEM_PER_CPU", "SLURM_CPU_BIND", "SLURM_NTASKS", "SLURM_JOB_ID", "SBATCH_PARTITION", "PMI_RANK")
    for name in inside:
        monkeypatch.setenv(name, "4096")
    (sweep.directory / "my_parts.py").write_text(
        "from droq_exp.learner.networks import EnsembleCritic\n\n\nclass Mine(EnsembleCritic):\n    pass\n"
    )
    command = ["seed=0,1,2,3,4", "hardware.seeds_per_job=2", "algo.critic._target_=my_parts.Mine", *broken(1)]
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
    assert {"my_parts.py", "outputs"} >= set(os.listdir(sweep.directory)) - {"__pycache__"}

    again = sweep.launch(*command)
    assert again.code == 1
    assert "4 finished: nothing to do" in again.out
    assert "1 failed: submitted" in again.out
    assert "1 job submitted" in again.out
    assert [sweep.job_id(seed) for seed in (0, 2, 3, 4)] == [ids[seed] for seed in (0, 2, 3, 4)]
    assert sweep.job_id(1) != ids[1]


def test_jobs_go_on_without_the_head_and_are_found_again(
    cluster: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["seed=0,1", *sweep.gated, "hardware.array_parallelism=1"]
    head = sweep.start(*command)
    sweep.wait_for_step(50)
    os.kill(head.pid, signal.SIGINT)
    done = sweep.wait(head)
    assert done.code == 130
    assert "jobs keep running" in done.err
    ids = [sweep.job_id(seed) for seed in (0, 1)]
    assert slurm_states(ids) == {ids[0]: RUNNING, ids[1]: QUEUED}

    with monkeypatch.context() as patch:  # a queue that does not answer is not an empty one
        patch.setenv("SLURM_CONF", str(_conf_of_a_controller_that_is_down(sweep)))
        with pytest.raises(QueueUnreachableError):
            slurm_states(ids)
        done = sweep.launch(*command)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")

    head = sweep.start(*command)
    assert head.stdout is not None
    assert [head.stdout.readline() for _ in range(2)] == ["1 running: left alone\n", "1 queued: left alone\n"]
    os.kill(head.pid, signal.SIGKILL)
    sweep.wait(head)
    slurm("scancel", ids[1])
    assert (_state(sweep, 0), _state(sweep, 1)) == ("running", "vanished")
    head = sweep.start(*command)
    until(lambda: sweep.job_id(1) != ids[1])
    _restart_slurmd(cluster)
    sweep.open_gate()
    done = sweep.wait(head)
    assert done.code == 0, done.err
    assert done.out.startswith("1 running: left alone\n1 vanished: submitted\n1 job submitted\n")
    assert done.out.endswith("2 finished\n")
    assert len(sweep.submissions()) == 2
    assert sweep.job_id(0) == ids[0]


def _restart_slurmd(cluster: Path) -> None:
    _kill_slurmd(cluster)
    _start_slurmd()


def _kill_slurmd(cluster: Path) -> None:
    os.kill(int((cluster / "run" / "slurmd.pid").read_text()), signal.SIGKILL)


def _start_slurmd() -> None:
    subprocess.run(["slurmd", "-N", _node()], check=True, timeout=SECONDS)


def _node() -> str:
    return os.uname().nodename.partition(".")[0]


def _conf_of_a_controller_that_is_down(sweep: Sweep) -> Path:
    path = sweep.directory.parent / "slurm.conf"
    text = Path(os.environ["SLURM_CONF"]).read_text()
    path.write_text(text.replace("SlurmctldPort=", "SlurmctldPort=1") + "MessageTimeout=2\n")
    return path


@dataclass(frozen=True)
class Battered:
    """A sweep of four jobs and one with a time limit, to each of which something has happened."""

    sweep: Sweep
    first: Done
    timed: Sweep
    timed_end: Done

    def log_text(self, seed: int) -> str:
        return (self.sweep.run(seed) / "train.log").read_text()


PREEMPTED, REQUEUED, KILLED, CANCELLED = range(4)


@pytest.fixture(scope="module")
def battered(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battered]:
    """All at the same time, since each of them takes its time."""
    sweep, timed = (Sweep(tmp_path_factory.mktemp(name)) for name in ("battered", "timed"))
    # SLURM's resolution is a minute, and it warns up to a minute earlier than it is asked to.
    timed_head = timed.start(*timed.gated, "hardware.hours=0.05", "hardware.signal_delay_seconds=110")
    head = sweep.start("seed=0,1,2,3", *sweep.gated)
    for seed in range(4):
        sweep.wait_for_step(50, seed)
    slurm("scancel", "--signal=USR2", sweep.job_id(PREEMPTED))
    slurm("scontrol", "requeue", sweep.job_id(REQUEUED))
    kill(sweep.job_id(KILLED))
    slurm("scancel", sweep.job_id(CANCELLED))
    for seed in (PREEMPTED, REQUEUED):
        _wait_for_restart(sweep.job_id(seed))
        assert _state(sweep, seed) in ("queued", "running")
    _wait_for_restart(timed.job_id())
    timed.open_gate()
    sweep.open_gate()
    first = sweep.wait(head)
    yield Battered(sweep, first, timed, timed.wait(timed_head))
    sweep.end()
    timed.end()


def _wait_for_restart(job_id: str) -> None:
    until(lambda: job_field(job_id, "Restarts") == "1")


def test_what_befell_some_jobs_is_told_and_the_others_finished(battered: Battered) -> None:
    assert battered.first.code == 1
    assert battered.first.out.endswith("2 finished, 1 interrupted, 1 vanished\n")
    assert len(battered.sweep.submissions()) == 1


def test_a_preempted_run_saves_and_goes_on_in_its_directory(battered: Battered) -> None:
    assert _state(battered.sweep, PREEMPTED) == "finished"
    log = battered.log_text(PREEMPTED)
    assert log.count("interrupted by SIGUSR2") == 1
    assert log.count(f"finished at step {GATED_STEPS}") == 1


def test_a_requeued_run_goes_on_in_its_directory(battered: Battered) -> None:
    assert _state(battered.sweep, REQUEUED) == "finished"
    assert battered.sweep.log(REQUEUED).count("Starting with JobEnvironment") == 2


def test_a_run_out_of_time_saves_and_goes_on_in_its_directory(battered: Battered) -> None:
    assert battered.timed_end.code == 0, battered.timed_end.err
    assert "this job is timed-out" in battered.timed.log()
    log = (battered.timed.run() / "train.log").read_text()
    restarts = job_field(battered.timed.job_id(), "Restarts")  # more than one on a machine too slow for its time limit
    assert log.count("interrupted by SIGUSR2") == int(restarts) >= 1
    assert len(battered.timed.submissions()) == 1


def test_a_killed_or_cancelled_run_is_no_finished_one(battered: Battered) -> None:
    sweep = battered.sweep
    assert f"vanished: {sweep.run(KILLED)}" in battered.first.err
    assert sweep.status(KILLED)["state"] == "running"  # nobody could write anything else
    assert f"interrupted: {sweep.run(CANCELLED)}: interrupted by SIGTERM" in battered.first.err
    assert (_state(sweep, KILLED), _state(sweep, CANCELLED)) == ("vanished", "interrupted")
    again = sweep.launch("seed=0,1,2,3", *sweep.gated)
    assert again.code == 0, again.err
    assert again.out.startswith(
        "2 finished: nothing to do\n1 interrupted: submitted\n1 vanished: submitted\n2 jobs submitted\n"
    )


def test_a_run_whose_node_is_lost_goes_on_from_its_last_checkpoint(cluster: Path, sweep: Sweep) -> None:
    head = sweep.start(*sweep.gated, "checkpoint.interval=60")
    sweep.wait_for_step(50)
    until(lambda: list(sweep.run().glob("checkpoint/state_*.pt")))
    job = sweep.job_id()
    _lose_node(cluster, job)
    try:
        # What the controller does by itself when SlurmdTimeout is over.
        slurm("scontrol", "update", f"NodeName={_node()}", "State=DOWN", "Reason=lost")
        until(lambda: job_field(job, "JobState") == "PENDING")
        until(lambda: _state(sweep) == "queued")  # the processes may take a moment to be gone
    finally:
        _start_slurmd()  # other tests need a node too
    _wait_for_restart(job)
    sweep.open_gate()
    done = sweep.wait(head)
    assert done.code == 0, done.err
    assert done.out.endswith("1 finished\n")
    assert sweep.job_id() == job
    assert len(sweep.submissions()) == 1
    log = (sweep.run() / "train.log").read_text()
    assert "continuing from the checkpoint of step" in log
    assert "interrupted" not in log  # nobody could say anything


def _lose_node(cluster: Path, job_id: str) -> None:
    """Kill at once all that a power cut ends: SLURM's daemon of the node, its keepers of the job, the job."""
    job = set(processes(job_id))
    keepers = {_parent(pid) for pid in job} - job
    _kill_slurmd(cluster)
    for pid in keepers | job:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))


def test_the_gpu_is_asked_for_here_and_looked_for_there(sweep: Sweep) -> None:
    gpu = ["hardware=slurm_gpu", "hardware.cpus=1", "hardware.setup=['echo given $CUDA_VISIBLE_DEVICES.']"]
    done = sweep.launch(*gpu, multirun=False)
    assert done.code == 1
    assert "hardware.device: cuda: no CUDA device here" in done.err
    assert "given 0." in sweep.log() or "given 1." in sweep.log()
    assert sweep.status()["state"] == _state(sweep) == "failed"
    assert sweep.status()["error"]["summary"] == (
        "droq_exp.config.errors.ConfigError: hardware.device: cuda: no CUDA device here; "
        "auto uses one where there is one"
    )
    assert job_end(sweep.job_id()) == "FAILED"


def test_what_cannot_be_submitted_is_one_line(sweep: Sweep) -> None:
    done = sweep.launch("hardware.partition=nowhere")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: hardware.partition: 'nowhere' is no partition of this cluster; it has ")
    assert done.err.count("\n") == 1
    assert not list(sweep.directory.glob("outputs/*/*/*/*/seed_*"))


def test_what_sbatch_refuses_is_one_line_and_nothing_is_said_to_be_submitted(sweep: Sweep) -> None:
    done = sweep.launch("hardware.account=nobody", "hardware.constraint=no_such_feature")
    assert (done.code, "submitted" in done.out) == (1, False)
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


def test_the_script_needs_two_arguments() -> None:
    script = Path(__file__).resolve().parent.parent.parent / "scripts" / "local_slurm.sh"
    done = subprocess.run([script, "begin"], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2
    assert "start DIR" in done.stderr
