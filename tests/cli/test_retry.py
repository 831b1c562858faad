"""``droq-exp retry``, by real runs of ``debug=default``: only what is broken, by what is stored with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_files import SUBMITTED, droq_exp, stand_in, write_job

from droq_exp.config import compose
from droq_exp.jobs.record import JobRecord
from droq_exp.launch import main
from droq_exp.runs.identity import run_directory

pytestmark = pytest.mark.program

ANYWHERE = ["debug=default", "codebase=ku", "env=inverted_pendulum", "hardware.threads=1", "hardware.updates=auto"]
SMALL = [*ANYWHERE, "hardware=cpu"]
PARALLEL = [*ANYWHERE, "hardware=cpu_parallel", "hardware.poll_seconds=0.1"]


def _broken(seed: int, state: str, made_by: list[str] | None, **more: object) -> Path:
    """A run that has ended at once; its overrides are in status.json."""
    config, recipe = compose([*(made_by or SMALL), f"seed={seed}"])
    directory = run_directory(config, recipe, seed)
    directory.mkdir(parents=True)
    status = {"state": state, "step": 0, "total_steps": 100, "started": SUBMITTED, "ended": SUBMITTED, "error": None}
    if made_by is not None:
        status["overrides"] = [*made_by, f"seed={seed}"]
    (directory / "status.json").write_text(json.dumps(status | more))
    return directory


def _state(directory: Path) -> str:
    return json.loads((directory / "status.json").read_text())["state"]


def test_only_what_is_broken_is_run_again(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = _broken(0, "failed", SMALL)
    unknown = _broken(1, "failed", None)
    done = _broken(2, "finished", SMALL, step=100)
    _broken(3, "stopped", SMALL, reason="early_stop: enough")
    before = (done / "status.json").read_text()
    assert droq_exp("retry", "outputs") == 1
    out, error = capsys.readouterr()
    assert out.startswith("2 of 4 runs to retry: 2 failed\n")
    (line,) = [line for line in error.splitlines() if line.startswith("not retried")]
    assert line.endswith("seed_1: neither job.json nor status.json has its overrides; repeat its command")
    assert (_state(failed), _state(unknown)) == ("finished", "failed")
    assert (done / "status.json").read_text() == before


def test_a_run_trained_without_a_job_keeps_what_makes_it(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seeds trained side by side; one of them is then as a SIGKILL leaves it."""
    with pytest.raises(SystemExit):
        main([*SMALL, "algo.gamma=0.9", "seed=[3,4]"])
    first, second = sorted(Path("outputs").resolve().rglob("seed_*"))
    told = json.loads((second / "status.json").read_text())
    (second / "status.json").write_text(json.dumps(told | {"state": "running", "step": 50, "ended": None}))
    untouched = (first / "status.json").read_text()
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time there is nothing to do
        assert droq_exp("retry", str(elsewhere / "outputs")) == 0
    again = json.loads((second / "status.json").read_text())
    assert (again["state"], again["step"]) == ("finished", 100)
    assert "algo.gamma=0.9" in again["overrides"]
    assert again["overrides"][-1] == "seed=4"
    assert (first / "status.json").read_text() == untouched


def test_by_the_launcher_of_the_run_and_from_any_directory(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [_broken(seed, "running", SMALL).resolve() for seed in (0, 1)]
    for seed, run in enumerate(runs):
        JobRecord("local", "elsewhere:1:1:started", SUBMITTED, "/none", [*PARALLEL, f"seed={seed}"]).write(run)
    outputs = (elsewhere / "outputs").rename(tmp_path / "moved")
    (tmp_path / "third").mkdir()
    monkeypatch.chdir(tmp_path / "third")
    assert droq_exp("retry", str(outputs)) == 0
    assert "2 of 2 runs to retry: 2 vanished" in capsys.readouterr().out
    assert [_state(path) for path in sorted(outputs.rglob("seed_*"))] == ["finished", "finished"]


def test_an_experiment_that_was_moved_and_is_a_link_now(elsewhere: Path, tmp_path: Path) -> None:
    run = _broken(0, "failed", SMALL)
    (experiment,) = Path("outputs").iterdir()
    experiment.symlink_to(experiment.rename(tmp_path / "another name"))
    assert droq_exp("retry", "outputs") == 0
    assert _state(run) == "finished"


def test_overrides_that_make_another_run_now(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _broken(0, "failed", SMALL)
    other = run.parent / "seed_5"
    run.rename(other)
    assert droq_exp("retry", "outputs") == 1
    assert "seed_5: with the versions installed now, its overrides make a different run: " in capsys.readouterr().err
    assert _state(other) == "failed"


def test_a_directory_of_another_run_is_left_and_the_others_are_retried(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, failed = _broken(0, "failed", SMALL), _broken(1, "failed", SMALL)
    (other / "config.yaml").write_text("identity: {algo.gamma: 0.5}\n")
    assert droq_exp("retry", "outputs") == 1
    assert f"seed_0: output_dir: {other.resolve()} holds another run: " in capsys.readouterr().err
    assert (_state(other), _state(failed)) == ("failed", "finished")


def test_overrides_of_an_earlier_version_are_named_and_the_others_are_retried(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, failed = _broken(0, "failed", SMALL, overrides=[*SMALL, "hardware.native=false"]), _broken(1, "failed", SMALL)
    assert droq_exp("retry", "outputs") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("not retried: ")]
    assert "seed_0: its overrides (" in line
    assert "hardware.native: has become hardware.updates" in line
    assert (_state(old), _state(failed)) == ("failed", "finished")


def test_without_the_queues_word_nothing_is_run(
    elsewhere: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(commands, "squeue", "", code=1)
    run = _broken(0, "running", SMALL)
    write_job(run, "7", *SMALL, "seed=0")
    assert droq_exp("retry", "outputs") == 2
    assert capsys.readouterr().err == "error: squeue ended with code 1\n"
    assert _state(run) == "running"


def test_nothing_to_retry(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _broken(0, "finished", SMALL, step=100)
    assert droq_exp("retry", "outputs") == 0
    assert capsys.readouterr().out == "0 of 1 runs to retry\n"
