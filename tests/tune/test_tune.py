"""``droq-exp tune``: what is searched, what is refused, what survives a head that dies, and what is told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import forks
import pytest
from real_runs import LITTLE_BIAS, ROOT
from small_disk import fill
from trials import KilledError, World, search_directory, trials, tune

from droq_exp.cli.app import main
from droq_exp.config import Config
from droq_exp.runs.lock import RunLock

GAMMA = "algo.gamma=range(0.5,0.9)"
POOL = ("hardware=cpu_parallel", "hardware.threads=1")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nothing is searched"),
        (["algo.gama=range(0,1)"], "did you mean algo.gamma?"),
        (["algo.gamma=log(0,1)"], "only numbers above 0 have a logarithm"),
        (["algo.gamma=range(0.9,0.5)"], "the first number must be less than the second"),
        (["algo.gamma=range(0.5,7)"], "algo.gamma: 7.0 is not allowed; it must be a number in [0, 1]"),
        (["algo.gamma=uniform(0,1)"], "is no term of a search"),
        ([GAMMA, "algo.gamma=log(0.5,0.9)"], "algo.gamma: is given twice"),
        ([GAMMA, "algo.gamma=0.9"], "algo.gamma: is given twice"),
        (["algo.gamma=0.5,0.9"], "algo.gamma=choice(a,b,...) searches them"),
        (["algo.target_mode=range(0,1)"], "this is a text; choice(a,b,...) searches it"),
        (["algo.target_mode=choice(min,min)"], "needs several values, all different"),
        (["algo.target_mode=choice(min,mine)"], 'algo.target_mode: "mine" is not allowed'),
        (["algo.batch_size=range(1.5,3)"], "the key takes integers alone"),
        (["training.total_steps=range(100,200)"], "a run is the same with any value of it"),
        ([GAMMA, "seed=3"], "--seeds says"),
        ([GAMMA, "--parallel", "2"], "hardware=cpu_parallel, slurm_cpu or slurm_gpu have several"),
        ([GAMMA, *POOL, "--parallel", "3"], "hardware.jobs=3 goes with it"),
        ([GAMMA, *POOL, "hardware.wait=false"], "hardware.wait: is not given here"),
        ([GAMMA, "output_dir=/proc/none"], "/proc/none"),
    ],
)
def test_what_cannot_be_searched_is_told_in_a_line(
    arguments: list[str], told: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(*arguments) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert told in line
    assert not list(place.iterdir())


def test_without_optuna_a_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("droq_exp.cli.tune.find_spec", lambda name: None)
    assert tune(GAMMA) == 2
    assert "pip install 'droq-exp[tune]'" in capsys.readouterr().err


def worth(gamma: float, seed: int, step: int) -> float:
    """Best where gamma is 0.7; later seeds are worth a little more."""
    return 100 - 100 * abs(gamma - 0.7) + step / 100 + seed


def near(config: Config, step: int) -> float:
    assert isinstance(config.seed, int)
    return worth(config.algo.gamma, config.seed, step)


def test_a_search_finds_and_says_with_what_to_train(capsys: pytest.CaptureFixture[str]) -> None:
    space = (GAMMA, "algo.batch_size=log(8,256)", "algo.hidden_sizes=choice([8],[8,8])")
    world = World(near)
    assert tune(*space, *POOL, "--trials", "12", "--seeds", "4", "--score", "iqm", world=world) == 0
    found = trials()
    assert [row["trial"] for row in found] == [str(number) for number in range(12)]
    assert {row["state"] for row in found} == {"complete"}
    assert {row["algo.hidden_sizes"] for row in found} == {"[8]", "[8,8]"}
    assert len(world.begun) == len({*world.begun}) == 4 * 12
    for row in found:
        gamma, size = float(row["algo.gamma"]), int(row["algo.batch_size"])
        assert 0.5 <= gamma <= 0.9
        assert 8 <= size <= 256
        assert float(row["value"]) == pytest.approx(worth(gamma, 1, 100) + 0.5)  # of the seeds 1 and 2 of 0 to 3
    best = min(found, key=lambda row: abs(float(row["algo.gamma"]) - 0.7))
    about = json.loads((search_directory() / "search" / "search.json").read_text())
    assert sum(about["importance"].values()) == pytest.approx(1)
    out = capsys.readouterr().out
    assert f"best: trial {best['trial']}, " in out
    assert f"algo.gamma={best['algo.gamma']}" in about["training"]
    assert "'seed=[0,1,2,3]'" in about["training"]
    assert about["training"] in out


@pytest.mark.program
def test_a_head_that_dies_loses_and_repeats_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One trial at a time, so that what is tried depends on the order of nothing."""
    command = (GAMMA, "algo.target_entropy=range(-4,-1)", "--trials", "9")
    for name in ("whole", "killed"):
        (place / name).mkdir()
    monkeypatch.chdir(place / "whole")
    assert tune(*command, world=World(near)) == 0
    monkeypatch.chdir(place / "killed")
    world = World(near)
    for look in (2, 6, 9):
        world.killed_at = look
        with pytest.raises(KilledError):
            tune(*command, world=world)
        journal = search_directory() / "search" / "journal.log"
        with journal.open("a") as file:  # half a line, and the lock that Optuna then had
            file.write('{"op_code": 4, "wor')
        journal.with_name("journal.log.lock").symlink_to(journal)
    capsys.readouterr()
    assert tune(*command, world=world) == 0
    assert "1 going on" in capsys.readouterr().out.splitlines()[1]
    assert trials(place / "killed") == trials(place / "whole")
    assert len(world.begun) == len({*world.begun}) == 9
    assert tune(*command, world=world) == 0  # all there already
    assert len(world.begun) == 9
    assert tune(*command[:-1], "10", world=world) == 0
    assert [row["state"] for row in trials()] == 10 * ["complete"]


def test_trials_below_the_median_are_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    """Unless they become good after all, before they have heard of it; a bad seed of a trial ends the others too."""

    def outcome(config: Config, step: int) -> float:
        return 1000.0 if config.algo.batch_size == 8 and step == 100 else near(config, step)

    world = World(outcome)
    space = (GAMMA, "algo.batch_size=choice(8,16)")
    assert tune(*space, "--trials", "14", "--seeds", "2", "--prune", "training.start_steps=40", world=world) == 0
    found = trials()
    pruned = [row for row in found if row["state"] == "pruned"]
    assert pruned
    assert {row["state"] for row in found} == {"complete", "pruned"}
    assert all(int(row["trial"]) >= 5 for row in pruned)  # of fewer there is no median worth the name
    assert {row["algo.batch_size"] for row in pruned} == {"16"}
    for row in pruned:
        (run,) = search_directory().glob(f"{row['runs']}/seed_0")
        told = json.loads((run / "status.json").read_text())
        assert told["state"] == "pruned"
        assert " at step 50, where the median of trials was " in told["reason"]
        assert float(row["value"]) == pytest.approx(worth(float(row["algo.gamma"]), 0, int(row["step"])) + 0.5)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["status", str(search_directory())])
    assert f"{28 - 2 * len(pruned)} done, {2 * len(pruned)} pruned" in capsys.readouterr().out


@pytest.mark.program
def test_failures_and_interruptions(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(lambda config, step: "failed" if config.algo.gamma > 0.7 else near(config, step))
    assert tune(GAMMA, "--trials", "8", world=world) in (0, 1)
    states = {row["state"] for row in trials()}
    assert states == {"complete", "failed"}
    assert all((float(row["algo.gamma"]) > 0.7) == (row["state"] == "failed") for row in trials())
    assert "has failed: seed 0: it broke (log: no.log)" in capsys.readouterr().out

    breaks = World(lambda config, step: "failed")
    assert tune(GAMMA, "--trials", "8", "--seed", "1", "output_dir=broken", world=breaks) == 1
    assert len(breaks.begun) == 5
    told = capsys.readouterr().err
    assert "the last 5 trials have failed, so the search ends; the same command makes 3 more" in told

    first = World(lambda config, step: "interrupted" if len(world.begun) < 2 else near(config, step))
    world = first
    assert tune(GAMMA, "--trials", "2", "output_dir=cut", world=first) == 1
    assert "interrupted, and continued by the same command: trials 0" in capsys.readouterr().err
    assert tune(GAMMA, "--trials", "2", "output_dir=cut", world=first) == 0
    assert len(first.begun) == 3


def test_ctrl_c_leaves_the_trials_to_the_next_head(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(near)
    world.killed_at, world.killed_by = 1, KeyboardInterrupt
    assert tune(GAMMA, "--trials", "1", world=world) == 130
    told = capsys.readouterr().err
    assert told == (
        "trials under way go on without this command; the same command continues, "
        f"droq-exp cancel {search_directory()} ends them\n"
    )
    assert tune(GAMMA, "--trials", "1", world=world) == 0
    assert len(world.begun) == 1


def test_two_heads_do_not_share_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(GAMMA, "--trials", "1", world=World(near)) == 0
    capsys.readouterr()
    world = World(near)
    with RunLock.acquire((search_directory() / "search").absolute()):
        assert tune(GAMMA, "--trials", "2", world=world) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "is in use by" in told
    assert not world.begun


def test_a_full_disk_ends_the_head_in_a_line(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(near)
    world.after_look[2] = lambda: fill(disk)  # the first trial has just ended
    assert tune(GAMMA, "--trials", "2", world=world) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert told.startswith("error: no space is left for ")
    (disk / "others").unlink()
    assert tune(GAMMA, "--trials", "2", world=world) == 0
    assert [row["state"] for row in trials()] == ["complete"] * 2
    assert len(world.begun) == 2


@pytest.mark.program
def test_a_head_killed_for_real_and_its_jobs(place: Path) -> None:
    """By SIGKILL, right after a trial has its values: before its job is submitted, or while it is."""
    command = [sys.executable, "-m", "droq_exp.cli.app", "tune", "debug=default", "hardware.device=cpu"]
    command += ["hardware.updates=auto", "env=inverted_pendulum", LITTLE_BIAS, *POOL, "hardware.poll_seconds=0.1"]
    command += ["algo.dropout_rate=log(1e-4,0.2)", "algo.target_entropy=range(-4,-1)", "--trials", "3"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    for last in ("trial 0 begins", "trial 2 begins"):
        with forks.Python(command, env=environment, stdout=-1, stderr=-1) as head:
            assert head.stdout is not None
            assert any(line.startswith(last) for line in head.stdout)
            head.kill()
    done = forks.run(command, env=environment)
    assert done.returncode == 0, done.stderr
    assert "3 trials: 3 complete" in done.stdout
    found = trials(place)
    assert len({row["runs"] for row in found}) == 3
    states = [json.loads(path.read_text()) for path in search_directory().glob("redq/droq/*/seed_0/status.json")]
    assert [(each["state"], each["attempts"]) for each in states] == 3 * [("finished", 1)]
