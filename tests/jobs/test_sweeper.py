"""Sweepers of others: they get a point's score, and may invent points."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import forks
import pytest
from real_runs import LITTLE_BIAS, ROOT, SMALL, breaking, rows, runs

from droq_exp.runs.score import seed_score

pytestmark = pytest.mark.program

SWEEPER = """
import json
from dataclasses import dataclass
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

class Three(Sweeper):
    def __init__(self, values):
        self.values = values

    def setup(self, *, hydra_context, task_function, config):
        given = {"hydra_context": hydra_context, "task_function": task_function, "config": config}
        self.launcher = Plugins.instance().instantiate_launcher(**given)

    def sweep(self, arguments):
        scores = {}
        for number, value in enumerate(self.values):
            (result,) = self.launcher.launch([[*arguments, f"algo.gamma={value}"]], initial_job_idx=number)
            scores[value] = result.return_value
        json.dump(scores, open("scores.json", "w"))

@dataclass
class Config:
    _target_: str = "hydra_plugins.three.three.Three"
    values: tuple = (0.9, 0.95)

ConfigStore.instance().store(group="hydra/sweeper", name="three", node=Config, provider="three")
"""
OWN = ("-m", "hydra/sweeper=three", *SMALL, "env=inverted_pendulum", LITTLE_BIAS)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    plugin = tmp_path / "installed" / "hydra_plugins" / "three"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").touch()
    (plugin / "three.py").write_text(SWEEPER)
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    paths = map(str, (ROOT, ROOT / "tests" / "helpers", tmp_path / "installed"))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def launch(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return forks.run([sys.executable, str(ROOT / "launch.py"), *arguments], env=environment)


@pytest.mark.parametrize("hardware", [(), ("hardware=cpu_parallel", "hardware.threads=1", "hardware.poll_seconds=0.2")])
def test_a_sweeper_gets_the_score_of_each_point(environment: dict[str, str], hardware: tuple[str, ...]) -> None:
    done = launch(environment, *OWN, *hardware)
    assert done.returncode == 0, done.stderr
    scores = json.loads(Path("scores.json").read_text())
    by_run = sorted(float(rows(run, "eval")[-1]["return_mean"]) for run in runs())
    assert (set(scores), sorted(scores.values())) == ({"0.9", "0.95"}, by_run)


def test_a_point_that_it_invents_is_checked_when_it_is_made(environment: dict[str, str]) -> None:
    done = launch(environment, *OWN, "hydra.sweeper.values=[0.9,7]")
    assert (done.returncode, [line for line in done.stderr.splitlines() if "rror" in line]) == (
        2,
        ["error: algo.gamma: 7.0 is not allowed; it must be a number in [0, 1]"],
    ), done.stderr
    assert len(runs()) == 1


def test_what_it_invents_is_refused_for_what_a_typed_sweep_is(environment: dict[str, str]) -> None:
    """Together, before the first of them trains."""
    batch = SWEEPER.replace(
        """        for number, value in enumerate(self.values):
            (result,) = self.launcher.launch([[*arguments, f"algo.gamma={value}"]], initial_job_idx=number)
            scores[value] = result.return_value
""",
        """        self.launcher.launch([[*arguments, str(value)] for value in self.values], initial_job_idx=0)
""",
    )
    (Path("..") / "installed" / "hydra_plugins" / "three" / "three.py").write_text(batch)
    for values, line in (
        (
            "['seed=0','hardware=cpu_parallel']",
            "error: hardware: one sweep cannot mix runs here, by SLURM and in parallel",
        ),
        ("['seed=0','output_dir=/proc/x']", "error: output_dir: /proc/x cannot be written"),
    ):
        done = launch(environment, *OWN, f"hydra.sweeper.values={values}")
        assert done.returncode == 2, done.stderr
        assert next(each for each in done.stderr.splitlines() if "rror" in each).startswith(line)
        assert not Path("outputs").exists()
        assert not Path("scores.json").exists()


def test_a_failure_is_no_number(environment: dict[str, str]) -> None:
    command = [word for word in OWN if word not in ("env=inverted_pendulum", LITTLE_BIAS)]
    broken = [*breaking(0, 60, "raise"), "env.id=counting_env:Counting-v0"]
    done = launch(environment, *command, *broken)
    assert done.returncode == 1
    assert "PointFailedError" in done.stderr
    assert not Path("scores.json").exists()


def test_a_sweeper_that_is_not_installed_is_refused(environment: dict[str, str]) -> None:
    done = launch(environment, "-m", "hydra/sweeper=tree", *OWN[2:])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: hydra/sweeper: 'tree' is not a sweeper; choose from ")
    assert "did you mean three" in done.stderr


def test_the_last_tenth_the_last_and_the_best(tmp_path: Path) -> None:
    assert seed_score(tmp_path, "last") is None
    values = {10: 5.0, 50: 90.0, 90: 7.0, 91: 8.0, 95: 12.0, 100: 10.0}
    lines = [f"{step},{value}" for step, value in values.items()]
    (tmp_path / "eval.csv").write_text("\n".join(["step,return_mean", *lines]) + "\n")
    assert seed_score(tmp_path, "last_tenth") == fmean([8, 12, 10])
    assert (seed_score(tmp_path, "last"), seed_score(tmp_path, "best")) == (10, 90)
