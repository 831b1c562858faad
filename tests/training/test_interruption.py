"""Ctrl-C and SIGTERM: real signals to the real program, and to this process where the exact step matters."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import odd_env  # noqa: F401  (registers its tasks)
import pytest
from real_runs import (
    LITTLE_BIAS,
    breaking,
    log_text,
    only_run,
    rows,
    runs,
    start,
    status,
    steps,
    train,
    wait_for,
    weights,
)

from droq_exp.agent.agent import Agent
from droq_exp.loggers.csv import CsvLogger

pytestmark = pytest.mark.program

LONG = ("env=inverted_pendulum", LITTLE_BIAS, "training.total_steps=1000000")


@pytest.fixture(autouse=True)
def directory(elsewhere: Path) -> Path:
    return elsewhere


def assert_interrupted(run: Path, name: str) -> int:
    """Status and log agree on how ``run`` ended, and nothing half-written is left; return the step."""
    told = status(run)
    assert (told["state"], told["error"]["summary"]) == ("interrupted", f"interrupted by {name}")
    assert told["ended"] is not None
    assert log_text(run).splitlines()[-1].endswith(f"INFO interrupted by {name} at step {told['step']}")
    assert "ERROR" not in log_text(run)
    assert not list(run.rglob(".*.tmp"))
    return told["step"]


def evaluated(directory: Path) -> bool:
    return any((run / "eval.csv").exists() for run in runs(directory))


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end; return the exit code and what was written to stderr."""
    _, error = process.communicate(timeout=300)
    return process.returncode, error


def interruptions(error: str) -> list[str]:
    """What the terminal was told of the interruption."""
    return [line for line in error.splitlines() if line.startswith("interrupted")]


# A real process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_training_in_order(number: signal.Signals, code: int, directory: Path) -> None:
    process = start(directory, *LONG, "seed=[0,1]")
    wait_for(lambda: evaluated(directory), process)
    process.send_signal(number)
    returned, error = end(process)
    assert returned == code
    assert "Traceback" not in error
    said = interruptions(error)
    assert len(said) == 1  # of both seeds
    assert said[0].endswith("saved; the same command continues")
    assert (number.name in said[0]) == (number != signal.SIGINT)
    for run in runs(directory):
        step = assert_interrupted(run, number.name)
        assert step >= 50
        assert steps(run) == steps(run, "train") == list(range(50, step + 1, 50))
        assert weights(run)["step"] == steps(run)[-1]


def test_a_terminal_that_goes_away_ends_training_in_order(directory: Path) -> None:
    """It can be written no more, which ends nothing; its SIGHUP does."""
    ours, its = os.openpty()
    process = start(directory, *LONG, stderr=its)
    os.close(its)
    wait_for(lambda: evaluated(directory), process)
    os.close(ours)
    reached = len(steps(only_run(directory)))
    wait_for(lambda: len(steps(only_run(directory))) >= reached + 2, process)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)  # a shell sends it, and the system does
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 129
    step = assert_interrupted(only_run(directory), "SIGHUP")
    assert (only_run(directory) / "checkpoint" / f"state_{step:09d}.pt").exists()


def test_ctrl_c_during_compilation_is_an_interruption(directory: Path, tmp_path: Path) -> None:
    """A terminal signals the compilers too, which then fail: that is no failure of the run."""
    cache = tmp_path / "inductor"
    # Trusting the processor's vector instructions saves the compilations that would try them.
    variables = {"TORCHINDUCTOR_CACHE_DIR": str(cache), "TORCHINDUCTOR_VEC_ISA_OK": "1"}
    process = start(directory, *LONG, "hardware.updates=compile", "algo.utd_ratio=1", **variables)
    wait_for(lambda: list(cache.rglob("*.main.cpp")), process)
    os.killpg(process.pid, signal.SIGINT)
    returned, error = end(process)
    assert returned == 130, error
    assert "Traceback" not in error
    assert assert_interrupted(only_run(directory), "SIGINT") == 51  # the first update


def test_ctrl_c_while_the_cpp_is_built_leaves_nothing_half_made(directory: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = start(directory, *LONG, "hardware.updates=native", XDG_CACHE_HOME=str(cache))
    wait_for(lambda: list(cache.glob("droq_exp/.building_*")), process)
    os.killpg(process.pid, signal.SIGINT)
    returned, error = end(process)
    assert returned == 130, error
    assert "Traceback" not in error
    assert not list(cache.glob("droq_exp/.*"))


def test_ctrl_c_ends_a_sweep(directory: Path) -> None:
    process = start(directory, "-m", *LONG, "seed=0,1")
    wait_for(lambda: evaluated(directory), process)
    os.killpg(process.pid, signal.SIGINT)
    returned, error = end(process)
    assert returned == 130, error
    assert "Traceback" not in error
    assert_interrupted(only_run(directory), "SIGINT")  # of seed 0; seed 1 did not start
    assert len(interruptions(error)) == 1


# Within this process, at an exact step


@pytest.mark.parametrize(("how", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_in_the_random_phase(how: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert train(*breaking(seed=0, at=20, how=how), "seed=[0,1]") == code
    (said,) = interruptions(capsys.readouterr().err)
    assert "at step 20, saved;" in said
    for run in runs():
        assert assert_interrupted(run, how) == 20
        assert sorted(os.listdir(run)) == ["checkpoint", "config.yaml", "status.json", "train.log"]
        assert sorted(os.listdir(run / "checkpoint")) == ["replay.bin", "state_000000020.pt"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_under_nohup_a_terminal_may_go_away() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert train(*breaking(seed=0, at=20, how="SIGHUP")) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_evaluation_is_broken_off_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its episodes are; ``test_resume`` has what comes of it later."""
    act, acted = Agent.act, [0]

    def interrupted(self: Agent, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        acted[0] += 1
        if acted[0] == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return act(self, obs, noise)

    monkeypatch.setattr(Agent, "act", interrupted)
    command = ["env=gym", "env.id=Endless-v0", "env.max_episode_steps=1000000000", "seed=[0,1]"]
    assert train(*command) == 143
    assert acted == [3]
    for run in runs():
        assert assert_interrupted(run, "SIGTERM") == 50
        assert sorted(os.listdir(run)) == ["checkpoint", "config.yaml", "status.json", "train.log"]
        assert sorted(os.listdir(run / "checkpoint")) == ["replay.bin", "state_000000050.pt"]


def test_a_seed_that_had_failed_before_stays_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    from counting_env import Counting

    def broken(self: Counting, reward: float) -> float:
        raise RuntimeError("the simulator broke")

    step = Counting.step

    def interrupted(self: Counting, action: object) -> object:
        if self.seed != self.broken_seed and self.steps == 69:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, action)

    monkeypatch.setattr(Counting, "_break", broken)
    monkeypatch.setattr(Counting, "step", interrupted)
    assert train(*breaking(seed=1, at=60, how="raise"), "seed=[0,1]") == 130
    going, failed = runs()
    assert assert_interrupted(going, "SIGINT") == 70
    assert (status(failed)["state"], status(failed)["step"]) == ("failed", 60)


def test_loggers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[str] = []
    monkeypatch.setattr(CsvLogger, "close", lambda self, state: states.append(state))
    assert train(*breaking(seed=0, at=70, how="SIGTERM"), "seed=[0,1]") == 143
    assert states == ["interrupted", "interrupted"]


def test_a_second_ctrl_c_ends_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Here within a step of an evaluation."""
    act, went_on = Agent.act, []

    def twice(self: Agent, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        went_on.append(True)
        return act(self, obs, noise)

    states: list[str] = []
    monkeypatch.setattr(Agent, "act", twice)
    monkeypatch.setattr(CsvLogger, "close", lambda self, state: states.append(state))
    assert train("env=gym", "env.id=Counting-v0", LITTLE_BIAS) == 130
    assert not went_on
    (said,) = interruptions(capsys.readouterr().err)
    assert "nothing is saved yet" in said
    run = only_run()
    assert_interrupted(run, "SIGINT")
    assert states == ["interrupted"]
    assert not (run / "eval.csv").exists()


def test_a_second_ctrl_c_keeps_the_step_that_was_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(self: CsvLogger, state: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(CsvLogger, "close", impatient)
    assert train(*breaking(seed=0, at=70, how="SIGINT")) == 130
    assert assert_interrupted(only_run(), "SIGINT") == 50  # that of the last evaluation
    assert [row["step"] for row in rows(only_run(), "eval")] == ["50"]
