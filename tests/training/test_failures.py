"""Runs that go wrong, and what running a command again does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import odd_env  # noqa: F401  (registers its tasks)
import pytest
from real_runs import (
    LITTLE_BIAS,
    breaking,
    contents,
    launch,
    log_text,
    only_run,
    runs,
    same_weights,
    start,
    status,
    steps,
    train,
    train_in,
    weights,
)

from droq_exp.agent.agent import Agent
from droq_exp.loggers.csv import CsvLogger
from droq_exp.random_streams import Stream, derived_seed

pytestmark = pytest.mark.program

PENDULUM = ("env=inverted_pendulum", LITTLE_BIAS)


@pytest.fixture(autouse=True)
def directory(elsewhere: Path) -> Path:
    return elsewhere


def assert_failed(run: Path, step: int, *words: str) -> None:
    """Status, log and files agree on how ``run`` failed."""
    told = status(run)
    assert (told["state"], told["step"]) == ("failed", step)
    assert told["ended"] is not None
    last = log_text(run).splitlines()[-1]
    assert f"ERROR failed at step {step}: {told['error']['summary']}" in last
    for word in words:
        assert word in told["error"]["summary"]


# One seed of several


def test_a_seed_whose_environment_breaks_leaves_the_others_running(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(*breaking(seed=1, at=70, how="raise"), "seed=[0,1,2]") == 1
    good, bad, also_good = runs()
    assert_failed(bad, 70, "RuntimeError: the simulator broke")
    assert "in _break" in status(bad)["error"]["traceback"]
    assert "Traceback (most recent call last)" in log_text(bad)
    assert "in _break" in log_text(bad)
    assert weights(bad)["step"] == 50  # the last good one
    assert steps(bad) == [50]
    for run in (good, also_good):
        assert (status(run)["state"], status(run)["step"]) == ("finished", 100)
        assert steps(run) == [50, 100]
        assert weights(run)["step"] == 100
    shown = capsys.readouterr().err
    assert shown.count("seed_1: failed at step 70: RuntimeError: the simulator broke (see ") == 1
    assert "Traceback" not in shown


def test_a_task_that_ends_the_process_fails_its_seed_alone() -> None:
    """In the midst of training; and when it is closed, after which nothing is left to fail."""
    assert train(*breaking(seed=1, at=70, how="leave"), "seed=[0,1]") == 1
    good, bad = runs()
    assert_failed(bad, 70, "ForeignExitError: it called sys.exit(0)")
    assert "in _break" in status(bad)["error"]["traceback"]
    assert status(good)["state"] == "finished"
    closing = ("env=gym", "env.id=Odd-v0", "env.kwargs.odd='close leaves'", LITTLE_BIAS)
    assert train(*closing, "experiment_name=closing") == 0


@pytest.mark.parametrize("method", ["log", "state", "close"])
def test_a_logger_that_ends_the_process_fails_its_run(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CsvLogger, method, lambda self, *given: sys.exit(0))
    assert train(*PENDULUM, "checkpoint.interval=60") == 1
    assert status(only_run())["error"]["summary"].endswith("ForeignExitError: it called sys.exit(0)")


def test_a_failed_seed_changes_nothing_for_the_others(tmp_path: Path, directory: Path) -> None:
    whole = train_in(tmp_path / "whole", *breaking(seed=1, at=1000, how="raise"), "seed=[0,1]")
    assert train(*breaking(seed=1, at=70, how="raise"), "seed=[0,1]") == 1
    assert same_weights(runs(directory)[0], whole[0])


@pytest.mark.parametrize(
    ("stream", "path", "step"), [(Stream.TRAINING_ENV, (), 0), (Stream.EVALUATION_ENV, (100, 0), 100)]
)
def test_a_reset_that_raises_fails_its_seed_alone(stream: Stream, path: tuple[int, ...], step: int) -> None:
    """The first of training; that of an evaluation."""
    kwargs = f"env.kwargs={{broken_seed: {derived_seed(1, stream, *path)}, breaks_at: 0}}"
    assert train("env=gym", "env.id=Counting-v0", LITTLE_BIAS, kwargs, "seed=[0,1]") == 1
    good, bad = runs()
    assert_failed(bad, step, "the simulator broke")
    assert status(good)["state"] == "finished"


def test_a_loss_that_is_not_finite_is_named_at_the_next_evaluation() -> None:
    changes = ["hardware.detect_anomaly=false", "training.total_steps=200"]
    assert train(*breaking(seed=0, at=60, how="huge_reward"), *changes, "seed=[0,1]") == 1
    bad, good = runs()
    assert_failed(bad, 100, "not finite at step 100: ", "critic_loss", "policy_loss")
    assert weights(bad)["step"] == 50
    assert all(weights(bad)[name].isfinite().all() for name in ("actor", "critic", "critic_target"))
    assert steps(bad) == [50]
    assert steps(good) == [50, 100, 150, 200]


def test_anomaly_detection_names_it_at_the_step() -> None:
    assert train(*breaking(seed=0, at=40, how="huge_reward"), "algo.batch_size=256") == 1
    assert_failed(only_run(), 51, "not finite at step 51: ", "critic_loss")  # the first update


def test_when_every_seed_has_failed_training_ends() -> None:
    assert train(*breaking(seed=0, at=20, how="raise"), "training.total_steps=1000000") == 1
    assert_failed(only_run(), 20)
    assert sorted(os.listdir(only_run())) == ["config.yaml", "status.json", "train.log"]


# All seeds


def test_an_exception_in_an_update_is_told_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    update = Agent.update

    def broken(self: Agent, replay: object) -> None:
        if self.state.critic_updates == 40:
            raise ArithmeticError("out of numbers")
        update(self, replay)  # type: ignore[arg-type]

    monkeypatch.setattr(Agent, "update", broken)
    assert train(*PENDULUM, "seed=[0,1]") == 1
    for run in runs():
        assert_failed(run, 71, "ArithmeticError: out of numbers")
        assert "in broken" in log_text(run)


def test_an_exception_while_everything_is_built_is_told_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr("droq_exp.agent.agent.replay_of", broken)
    assert launch(*PENDULUM, "seed=[0,1]") == 1
    for run in runs():
        assert_failed(run, 0, "OSError: too many open files")
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from droq_exp.loggers import csv

    write = csv.write_atomically

    def full(path: Path, content: str) -> None:
        if len(content.splitlines()) == 3:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(csv, "write_atomically", full)
    assert train(*PENDULUM) == 1
    assert_failed(only_run(), 100, "No space left on device")
    assert steps(only_run(), "train") == [50]


def test_a_logger_that_cannot_close_fails_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    def close(self: CsvLogger, state: str) -> None:
        closed.append(state)
        if len(closed) == 1:
            raise OSError("disk gone")

    monkeypatch.setattr(CsvLogger, "close", close)
    assert train(*PENDULUM, "seed=[0,1]") == 1
    assert closed == ["finished", "finished"]
    assert_failed(runs()[0], 100, "OSError: disk gone")
    assert status(runs()[1])["state"] == "finished"


def test_output_that_cannot_be_written_is_said(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "outputs").write_text("in the way")
    assert launch(*PENDULUM) == 2
    assert "outputs is not a directory" in capsys.readouterr().err
    assert (directory / "outputs").read_text() == "in the way"


# The same command again


def test_a_finished_run_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(*PENDULUM, "seed=[0,1]") == 0
    before = [contents(run) for run in runs()]
    capsys.readouterr()
    for again in (
        ["seed=[0,1]"],
        ["seed=1"],
        ["seed=[0,1]", "training.total_steps=60"],
        ["seed=0", "logger=tensorboard"],
    ):
        assert launch(*PENDULUM, *again) == 0
        shown = capsys.readouterr()
        assert shown.out.count("already finished at step 100: ") == (2 if "[" in again[0] else 1)
        assert [line.split()[0] for line in shown.err.splitlines()] == ["next:", "droq-exp"]
    assert [contents(run) for run in runs()] == before


def test_seeds_that_are_missing_are_added(tmp_path: Path) -> None:
    assert train(*PENDULUM, "seed=1") == 0
    before = contents(only_run())
    assert train(*PENDULUM, "seed=[0,1,2]") == 0
    assert [run.name for run in runs()] == ["seed_0", "seed_1", "seed_2"]
    assert contents(runs()[1]) == before
    assert [status(run)["state"] for run in runs()] == ["finished"] * 3


def test_more_steps_extend_the_run_where_it_is(tmp_path: Path) -> None:
    assert train(*PENDULUM, "checkpoint.keep_replay=true") == 0
    assert train(*PENDULUM, "training.total_steps=170") == 0
    run = only_run()
    assert (status(run)["step"], status(run)["total_steps"]) == (170, 170)
    assert steps(run) == [50, 100, 150, 170]
    (at_once,) = train_in(tmp_path / "at_once", *PENDULUM, "training.total_steps=170")
    assert same_weights(run, at_once)


@pytest.mark.parametrize(("how", "code", "state"), [("raise", 1, "failed"), ("SIGTERM", 143, "interrupted")])
def test_what_did_not_finish_goes_on(how: str, code: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = breaking(seed=0, at=70, how=how)
    assert train(*command) == code
    run = only_run()
    assert status(run)["state"] == state
    (run / ".eval.csv.0.tmp").write_text("of a killed process")
    monkeypatch.setattr("counting_env.Counting._break", lambda self, reward: reward)  # it works this time
    assert train(*command) == 0
    assert only_run() == run
    assert (status(run)["state"], status(run)["error"]) == ("finished", None)
    assert steps(run) == steps(run, "train") == [50, 100]
    assert f"attempt 2: the last was {state} at step 70" in log_text(run)
    assert log_text(run).count("finished at step 100") == 1
    assert not (run / ".eval.csv.0.tmp").exists()


# Machines


def test_without_a_compiler_a_run_says_so_once_and_goes_on(directory: Path, tmp_path: Path) -> None:
    without = {"CXX": "no-such-compiler", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = start(directory, *PENDULUM, "hardware.updates=auto", "seed=[0,1]", **without)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert (out + error).count("no C++ compiler found") == 1
    assert error.startswith(
        "updates: eager, not this project's C++: no C++ compiler found: install g++, or use what droq-exp build makes"
    )
    assert len(error.splitlines()) == 7  # and the beginning, two evaluations, the end and what is next
    assert [status(run)["state"] for run in runs(directory)] == ["finished"] * 2
