"""A disk that is full: before the start, while training, at the very end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from real_runs import LITTLE_BIAS, assert_same, interrupt_at, launch, log_text, only_run, status, train, train_in
from small_disk import fill

from droq_exp.loggers.csv import CsvLogger
from droq_exp.runs.directory import RunDirectory
from droq_exp.training.loop import TrainingLoop

pytestmark = pytest.mark.program

COMMAND = ("env=inverted_pendulum", LITTLE_BIAS, "checkpoint.interval=30", "training.total_steps=160")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (run,) = train_in(tmp_path_factory.mktemp("place") / "whole", *COMMAND)
    return run


def fill_at(step: int, disk: Path, patch: pytest.MonkeyPatch) -> None:
    act = TrainingLoop._act

    def filling(self: TrainingLoop, random: bool) -> None:
        act(self, random)
        if self.step == step:
            fill(disk)

    patch.setattr(TrainingLoop, "_act", filling)


def test_at_the_start_it_is_said_in_a_line_and_nothing_is_left(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(disk)
    assert launch(*COMMAND) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: output_dir: ")
    assert error.endswith(" cannot be written: No space left on device\n")
    assert error.count("\n") == 1
    assert os.listdir(disk) == ["others"]


def test_a_disk_that_fills_while_a_run_begins_is_said_in_a_line(
    disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = RunDirectory.begin

    def filling(self: RunDirectory, step: int) -> None:
        fill(disk)
        begin(self, step)

    monkeypatch.setattr(RunDirectory, "begin", filling)
    assert launch(*COMMAND) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert error.splitlines()[-1].endswith(" cannot be written: No space left on device")


@pytest.mark.parametrize("step", [45, 55, 85])  # before a measurement, a first and a later checkpoint
def test_in_training_the_end_is_told_and_the_run_goes_on_later(
    step: int, disk: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fill_at(step, disk, patch)
        assert launch(*COMMAND) == 1
    told = status(only_run())
    assert (told["state"], told["ended"] is not None) == ("failed", True)
    assert "No space left on device" in told["error"]["summary"]
    assert log_text(only_run()).splitlines()[-1].endswith(told["error"]["summary"])
    assert not list(only_run().rglob(".*.tmp"))
    assert not (only_run() / "lock.json").exists()
    error = capsys.readouterr().err
    assert "failed at step" in error
    assert "Traceback" not in error
    (disk / "others").unlink()
    assert train(*COMMAND) == 0
    assert_same(only_run(), whole)


def test_a_signal_on_a_full_disk(disk: Path, whole: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fill_at(115, disk, patch)
        interrupt_at(115, patch)
        assert train(*COMMAND) == 143
    assert "No space left on device" in status(only_run())["error"]["summary"]
    (disk / "others").unlink()
    assert train(*COMMAND) == 0
    assert "continuing from the checkpoint of step 90" in log_text(only_run())
    assert_same(only_run(), whole)


def test_at_the_end_it_has_finished(disk: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CsvLogger, "close", lambda self, state: fill(disk))
    assert train(*COMMAND) == 0
    assert status(only_run())["state"] == "finished"
    assert log_text(only_run()).endswith("finished at step 160\n")
    assert os.listdir(only_run() / "checkpoint") == ["weights.pt"]
    assert_same(only_run(), whole)


def test_what_a_killed_process_has_left_in_a_finished_run_is_removed(whole: Path) -> None:
    (whole / ".lock.json.0123.tmp").touch()
    (whole / "checkpoint" / ".state_000000150.pt.0123.tmp").touch()
    os.chdir(whole.parents[5])
    assert train(*COMMAND) == 0
    assert not list(whole.rglob(".*.tmp"))
