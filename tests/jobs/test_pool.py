"""``hardware=cpu_parallel``: real jobs on this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from run_files import droq_exp
from sweep import GATED_STEPS, Sweep, broken, until

from droq_exp.jobs.queue import LocalJob, Queue
from droq_exp.jobs.state import point_state
from droq_exp.runs.lock import RunLock

pytestmark = pytest.mark.program

STOPPER = """
from pathlib import Path
from droq_exp.callbacks import Callback, Stop

class First(Callback):
    def __init__(self, left: str):
        self.first = Path(left, "taken")

    def evaluated(self, step, metrics):
        try:
            self.first.touch(exist_ok=False)
        except FileExistsError:
            return None
        return Stop("the first")
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    sweep = Sweep(tmp_path, hardware=("hardware=cpu_parallel", "hardware.threads=1"))
    yield sweep
    sweep.end()


def _state(sweep: Sweep, seed: int) -> str:
    return point_state(sweep.run(seed), GATED_STEPS, Queue())


def test_so_many_at_once_with_a_failure_among_them(sweep: Sweep) -> None:
    command = ["seed=0,1", "hardware.jobs=1", *broken(0)]
    done = sweep.launch(*command)
    assert done.code == 1
    assert "2 jobs submitted" in done.out
    assert done.out.endswith("1 finished, 1 failed\n")
    assert f"failed: {sweep.run(0)}: RuntimeError: the simulator broke (log: " in done.err
    ends = [(sweep.status(seed)["started"], sweep.status(seed)["ended"]) for seed in range(2)]
    assert all(ended <= started for (_, ended), (started, _) in pairwise(ends))
    assert sorted(os.listdir(sweep.directory)) == ["outputs"]


def test_a_stop_is_no_failure_and_the_same_command_leaves_it_alone(sweep: Sweep, tmp_path: Path) -> None:
    """Two seeds of one job; the module of the callback is in the working directory, its choice in the user's own."""
    (sweep.directory / "seed_stopper.py").write_text(STOPPER)
    choice = tmp_path / "conf" / "callbacks" / "mine.yaml"
    choice.parent.mkdir(parents=True)
    choice.write_text("mine:\n  _target_: seed_stopper.First\n")
    (tmp_path / "left").mkdir()
    command = ["seed=0,1", "hardware.seeds_per_job=2", "callbacks=mine", f"callbacks.mine.left={tmp_path / 'left'}"]
    command += ["--config-dir", str(tmp_path / "conf")]
    done = sweep.launch(*command)
    assert done.code == 0, done.err
    assert done.out.endswith("1 finished, 1 stopped\n")
    (stopped,) = [seed for seed in (0, 1) if sweep.status(seed)["state"] == "stopped"]
    assert f"stopped: {sweep.run(stopped)}: mine: the first\n" in done.out
    again = sweep.launch(*command)
    assert again[:2] == (0, "1 finished: nothing to do\n1 stopped: nothing to do\n1 finished, 1 stopped\n"), again
    assert droq_exp("retry", str(sweep.directory / "outputs")) == 0


def test_jobs_that_wait_for_their_turn_start_without_the_head_too(sweep: Sweep) -> None:
    """Also behind one that is cancelled, and one whose record is damaged."""
    command = ["seed=0,1,2,3", "hardware.jobs=1", *sweep.gated]
    head = sweep.start(*command)
    sweep.wait_for_step(50)
    os.kill(head.pid, signal.SIGKILL)
    sweep.wait(head)
    assert [_state(sweep, seed) for seed in range(4)] == ["running", *["queued"] * 3]
    assert droq_exp("cancel", str(sweep.run(2))) == 0
    again = sweep.launch("seed=0,1", *command[1:], "hardware.wait=false")
    assert again[:2] == (0, "1 running: left alone\n1 queued: left alone\n"), again
    (sweep.run(1) / "job.json").write_text("[]")
    sweep.open_gate()
    expected = ["finished", "failed", "interrupted", "finished"]
    until(lambda: [_state(sweep, seed) for seed in range(4)] == expected)
    (sweep.run(1) / "job.json").unlink()


def test_two_heads_at_once_submit_each_run_once(sweep: Sweep) -> None:
    command = ["seed=0,1,2", "hardware.jobs=2", *sweep.gated, "hardware.wait=false"]
    experiment = sweep.directory / "outputs" / "debug"
    experiment.mkdir(parents=True)
    with RunLock.acquire(experiment):  # as a head that still submits; each of the others has seen no job yet
        heads = [sweep.start(*command) for _ in range(3)]
        for head in heads:
            assert head.stderr is not None
            assert head.stderr.readline().startswith("waiting for its turn: ")
        assert not list(sweep.directory.rglob("job.json"))
    ends = [sweep.wait(head) for head in heads]
    assert [end.code for end in ends] == [0, 0, 0], ends
    assert sorted("3 jobs submitted" in end.out for end in ends) == [False, False, True], ends
    assert len(list(sweep.directory.glob("outputs/debug/.jobs/*/pool.log"))) == 1
    for seed in (0, 1):
        sweep.wait_for_step(50, seed)
    assert droq_exp("cancel", str(sweep.directory / "outputs")) == 0
    until(lambda: [_state(sweep, seed) for seed in range(3)] == ["interrupted"] * 3)


def test_a_job_that_is_killed_has_vanished_and_one_that_is_ended_was_interrupted(sweep: Sweep) -> None:
    command = ["seed=0,1", *sweep.gated]
    head = sweep.start(*command)
    for seed in (0, 1):
        sweep.wait_for_step(50, seed)
    for seed, end in enumerate((signal.SIGKILL, signal.SIGTERM)):
        os.kill(LocalJob.parse(sweep.job_id(seed)).pid, end)
    done = sweep.wait(head)
    assert done.code == 1
    assert f"vanished: {sweep.run(0)}" in done.err
    assert f"interrupted: {sweep.run(1)}: interrupted by SIGTERM" in done.err


def test_one_run_is_a_job_too(sweep: Sweep) -> None:
    done = sweep.launch(multirun=False)
    assert (done.code, done.out.splitlines()[:2]) == (0, ["1 missing: submitted", "1 job submitted"])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["hardware=slurm_cpu,cpu_parallel"],
            "error: hardware: one sweep cannot mix runs here, by SLURM and in parallel",
        ),
        (["hydra/launcher=basic"], "error: hydra/launcher: "),
        (["logger=tensorboard,wandb"], "error: sweep: two points are the same run: "),
        (["hardware.partition=low"], "error: hardware.partition: exists with hardware=slurm_cpu or slurm_gpu only"),
        (["hardware.setup=[]"], "error: hardware.setup: exists with"),
        (["hardware.launcher=here"], "error: hardware.launcher: is set by the choice of hardware"),
    ],
)
def test_what_is_refused_before_anything_starts(arguments: list[str], problem: str, sweep: Sweep) -> None:
    done = sweep.launch(*arguments)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert done.err.startswith(problem)
    assert os.listdir(sweep.directory) == []
