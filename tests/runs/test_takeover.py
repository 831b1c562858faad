"""A run knows its code and its format: what it holds is neither taken for today's nor lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import forks
import numpy as np
import pytest
import yaml
from checkouts import Checkout
from real_runs import ROOT, log_text, rows, status
from run_files import ENVIRONMENT, PROGRAM

from droq_exp.config import ConfigError, compose
from droq_exp.runs.identity import run_directory
from droq_exp.runs.lock import HeldError, RunLock
from droq_exp.runs.takeover import FORMAT, check_directory, set_aside

pytestmark = pytest.mark.program

FORMAT_1 = Path(__file__).with_name("format_1")  # made by the last version that had no formats: seed 1 interrupted
# Of seed 1 at step 520, gone on with by the last version whose transitions had no `truncated`.
METRICS_OF_FORMAT_1 = {
    "critic_loss": 1.6187113,
    "policy_loss": -1.5820667,
    "temperature_loss": -0.12445948,
    "temperature": 0.85971075,
    "q_mean": 1.0241196,
    "entropy": 0.5775003,
    "episodes": 103,
    "episode_return_mean": 4.0097087,
    "updates": 940,
}
MADE_BY = (
    *("debug=default", "algo=droq", "env=inverted_pendulum", "experiment_name=old", "checkpoint.interval=50"),
    *("bias.enabled=false", "eval.interval=1000", "training.replay_size=100000", "hardware=cpu", "hardware.threads=1"),
)


# Edited code


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, Path]:
    """A checkout and where it has trained a run."""
    directory = tmp_path_factory.mktemp("finished")
    checkout = Checkout(directory / "checkout")
    checkout.train(directory / "place", "checkpoint.keep_replay=true")
    return checkout, directory / "place"


@pytest.fixture
def edited(finished: tuple[Checkout, Path], tmp_path: Path) -> tuple[Checkout, Path]:
    """The same with a formula edited afterwards."""
    shutil.copytree(finished[1], tmp_path / "place")
    checkout = Checkout(tmp_path / "checkout")
    checkout.edit("losses.py", "return soft_reward + discount * next_value", "return soft_reward + discount")
    return checkout, tmp_path / "place"


def test_a_finished_run_of_other_code_is_not_already_finished(edited: tuple[Checkout, Path]) -> None:
    checkout, place = edited
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    for arguments in ((), ("-m",)):
        done = checkout.launch(place, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        for part in ("learner/losses.py", "experiment_name=", "training.restart=true", "training.accept_code=true"):
            assert part in done.stderr
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_a_comment_changes_nothing(finished: tuple[Checkout, Path], tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    checkout.edit(
        "losses.py",
        "    return soft_reward + discount * next_value",
        "    # y\n    return soft_reward + discount * next_value",
    )
    done = checkout.launch(finished[1])
    assert (done.returncode, done.stdout.startswith("already finished")) == (0, True), done.stderr


def test_accepted_code_goes_on_and_is_recorded(edited: tuple[Checkout, Path]) -> None:
    checkout, place = edited
    more = ("training.total_steps=70", "checkpoint.keep_replay=true")
    assert checkout.launch(place, *more).returncode == 2  # a resume is not silent either
    done = checkout.launch(place, *more, "training.accept_code=true")
    assert done.returncode == 0, done.stderr
    (run,) = place.rglob("seed_0")
    assert (status(run)["step"], status(run)["accepted_code"]) == (70, ["learner/losses.py"])
    assert not any(line.startswith("training.accept_code") for line in status(run)["overrides"])
    assert "continuing from the checkpoint of step 60" in log_text(run)
    assert checkout.launch(place, *more).returncode == 0  # it is the run's code from now on


def test_code_accepted_for_a_finished_run_is_recorded(edited: tuple[Checkout, Path]) -> None:
    checkout, place = edited
    done = checkout.launch(place, "training.accept_code=true")
    assert (done.returncode, done.stdout.startswith("already finished")) == (0, True), done.stderr
    (run,) = place.rglob("seed_0")
    assert (status(run)["state"], status(run)["accepted_code"]) == ("finished", ["learner/losses.py"])


def test_a_restart_keeps_the_old_results_aside(edited: tuple[Checkout, Path]) -> None:
    checkout, place = edited
    for number in (1, 2):
        done = checkout.launch(place, "training.restart=true")
        assert done.returncode == 0, done.stderr
        assert f"seed_0.before-{number}" in done.stdout
    (run,) = place.rglob("seed_0")
    assert status(run)["attempts"] == 1
    assert not any(line.startswith("training.restart") for line in status(run)["overrides"])
    assert "restart: false" in (run / "config.yaml").read_text()
    listed = forks.run([*PROGRAM, "status", "--json", str(place)], env=ENVIRONMENT, check=True)
    assert len(json.loads(listed.stdout)["runs"]) == 1
    assert sorted(path.name for path in run.parent.iterdir()) == ["seed_0", "seed_0.before-1", "seed_0.before-2"]
    assert status(run.with_name("seed_0.before-1"))["state"] == "finished"


def test_a_directory_in_use_is_not_set_aside(tmp_path: Path) -> None:
    directory = tmp_path / "seed_0"
    assert set_aside(directory) is None
    directory.mkdir()
    with RunLock.acquire(directory), pytest.raises(HeldError):
        set_aside(directory)
    assert directory.is_dir()


# Other formats


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A current directory with the runs of format 1, moved from where they were made as the refusal says."""
    config, recipe = compose(MADE_BY)
    made_in = tmp_path / run_directory(config, recipe, 0).parent
    assert made_in.name == "inverted_pendulum-bbe130e8"  # as its train.log says
    shutil.copytree(FORMAT_1, made_in)
    for seed in (0, 1):
        directory = made_in / f"seed_{seed}"
        words = r"to continue the old one, which knew no codebase\.first_alpha, move it to (\S+) and give (\S+)$"
        with pytest.raises(ConfigError) as refusal:
            check_directory(directory, config)
        move = re.search(words, str(refusal.value))
        assert move is not None
        assert move[2] == "codebase.first_alpha=null"
        Path(move[1]).parent.mkdir(exist_ok=True)
        directory.rename(move[1])
    return tmp_path


def launch(place: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "launch.py"), *MADE_BY, *overrides]
    return forks.run(command, cwd=place, env=ENVIRONMENT)


def test_a_run_of_format_1_goes_on(older: Path) -> None:
    done = launch(older, "codebase.first_alpha=null", "seed=1", "training.total_steps=520")
    assert done.returncode == 0, done.stderr
    (run,) = older.rglob("seed_1")
    assert (status(run)["state"], status(run)["step"], status(run)["attempts"]) == ("finished", 520, 2)
    assert "continuing from the checkpoint of step 477" in log_text(run)
    assert "did not record its code" in log_text(run)
    (line,) = [line for line in log_text(run).splitlines() if "other conditions" in line]
    assert not {"updates:", "seeds:", "None before"} & set(re.findall(r"\w+:|None before", line))
    assert yaml.safe_load((run / "config.yaml").read_text())["format"] == FORMAT
    (told,) = rows(run, "train")
    assert {name: float(told[name]) for name in METRICS_OF_FORMAT_1} == pytest.approx(METRICS_OF_FORMAT_1, rel=1e-3)
    assert [float(row["return_mean"]) for row in rows(run, "eval")] == [18]
    assert os.listdir(run / "checkpoint") == ["weights.pt"]


def test_a_run_of_format_1_keeps_its_transitions(older: Path) -> None:
    """Rows of obs, action, reward, next_obs, terminated get a 0; the next ones are stored with them."""
    (run,) = older.rglob("seed_1")
    before = np.fromfile(run / "checkpoint" / "replay.bin", dtype=np.float32).reshape(477, 11)
    keep = "checkpoint.keep_replay=true"
    done = launch(older, "codebase.first_alpha=null", "seed=1", "training.total_steps=520", keep)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in run.glob("checkpoint/*.*")) == [
        *("replay-2.bin", "state_000000500.pt", "state_000000520.pt", "weights.pt"),
    ]
    after = np.fromfile(run / "checkpoint" / "replay-2.bin", dtype=np.float32).reshape(520, 12)
    assert np.array_equal(after[:477, :11], before)
    assert not after[:, 11].any()  # the poles fall long before the time limit
    assert "do not say whether they were truncated" in log_text(run)


def test_a_finished_run_of_format_1_is_finished(older: Path) -> None:
    done = launch(older, "codebase.first_alpha=null", "seed=0", "training.total_steps=100")
    assert (done.returncode, done.stdout.startswith("already finished at step 100")) == (0, True), done.stderr


def test_runs_of_format_1_are_read(older: Path) -> None:
    (run,) = older.rglob("seed_0")
    done = forks.run([*PROGRAM, "evaluate", str(run), "--episodes", "1"], env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["return_mean"] > 0
    done = forks.run([*PROGRAM, "status", "--json", str(older)], env=ENVIRONMENT, check=True)
    assert '"finished"' in done.stdout


def test_a_key_younger_than_a_run_is_named_with_the_way_to_keep_it(tmp_path: Path) -> None:
    config, recipe = compose([*MADE_BY])
    directory = tmp_path / run_directory(config, recipe, 0)
    shutil.copytree(FORMAT_1 / "seed_0", directory)
    with pytest.raises(ConfigError, match=r"codebase\.first_alpha is null there and 0\.2 here; experiment_name=<name>"):
        check_directory(directory, config)
    config, _ = compose([*MADE_BY, "codebase.first_alpha=null"])
    check_directory(directory, config)


def test_a_format_of_the_future_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"format: {FORMAT + 1}\nidentity: {{}}\n")
    config, _ = compose([*MADE_BY])
    with pytest.raises(ConfigError, match=f"format {FORMAT + 1} .* update droq-exp"):
        check_directory(tmp_path, config)
