"""A user's own agent and task, in a module of the working directory: in training, in jobs, when a run is retried."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import forks
import pytest
from run_files import ENVIRONMENT, stand_in
from submitit.core.utils import DelayedSubmission
from sweep import ROOT

from droq_exp.config.targets import VARIABLE
from droq_exp.import_path import looking_in, own_places, places_for_jobs

pytestmark = pytest.mark.program

PARTS = """
import os, pathlib, gymnasium, my_helpers, yaml
from gymnasium.envs.classic_control import PendulumEnv
from droq_exp.agent import Agent

class Mine(Agent):
    pass

class Pendulum(PendulumEnv):
    seed = None

    def reset(self, *, seed=None, options=None):
        self.seed = seed
        return super().reset(seed=seed, options=options)

    def step(self, action):
        if self.seed is None and pathlib.Path(os.environ["BROKEN"]).exists():  # in training's second episode
            raise RuntimeError("the simulator broke")
        return super().step(action)

gymnasium.register("Mine-v0", entry_point=Pendulum, max_episode_steps=50)
"""
MINE = (
    *("debug=default", "env=gym", "env.id=my_parts:Mine-v0", "algo._target_=my_parts.Mine", "bias.enabled=false"),
    *("training.total_steps=60", "training.start_steps=50", "eval.interval=60", "hardware.threads=1"),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a user's parts; one of them has the name of an installed module, and must not win."""
    directory = tmp_path / "here"
    directory.mkdir()
    (directory / "my_parts.py").write_text(PARTS)
    (directory / "my_helpers.py").touch()
    (directory / "yaml.py").write_text("raise ImportError('the wrong yaml')\n")
    plugin = directory / "hydra_plugins" / "theirs" / "__init__.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text("open('taken', 'w')\n")
    monkeypatch.chdir(directory)
    monkeypatch.delitem(ENVIRONMENT, VARIABLE, raising=False)
    monkeypatch.setitem(ENVIRONMENT, "BROKEN", str(tmp_path / "broken"))
    return directory


def run(arguments: list[str], directory: Path | None = None) -> Any:
    return forks.run([sys.executable, *arguments], cwd=directory, env=ENVIRONMENT)


def really_run(arguments: list[str]) -> Any:
    """As ``run``, in a new Python, which imports everything itself; so do the jobs that it starts."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


def status() -> dict[str, Any]:
    (path,) = Path("outputs").rglob("status.json")
    return json.loads(path.read_text())


def console_script(directory: Path, module: str) -> str:
    """As pip installs it: with its own directory on the path."""
    (directory / "bin").mkdir(exist_ok=True)
    script = directory / "bin" / module
    script.write_text(f"from {module} import main\nmain()\n")
    return str(script)


@pytest.mark.parametrize("way", ["launch.py", "droq-exp-train", "python -m droq_exp"])
def test_training_looks_in_the_working_directory_however_it_is_started(way: str, here: Path, tmp_path: Path) -> None:
    programs = {
        "launch.py": [str(ROOT / "launch.py")],
        "droq-exp-train": [console_script(tmp_path, "droq_exp.launch")],
        "python -m droq_exp": ["-m", "droq_exp"],
    }
    done = really_run([*programs[way], *MINE, "--trust", "my_parts", "--cfg", "job"])
    assert done.returncode == 0, done.stderr
    assert "_target_: my_parts.Mine" in done.stdout
    assert not (here / "taken").exists()  # by a plugin of Hydra that nobody named


def test_the_next_command_that_is_told_finds_and_trusts_it_too(here: Path) -> None:
    done = run([str(ROOT / "launch.py"), *MINE])
    assert done.returncode == 0, done.stderr
    told = next(line for line in done.stderr.splitlines() if line.startswith("next: "))
    variable, program, command, *arguments = shlex.split(told.removeprefix("next: "))
    assert (variable, program, command, arguments[1:]) == ("PYTHONPATH=.", "droq-exp", "play", ["--trust", "my_parts"])
    reading = [sys.executable, "-c", "from droq_exp.cli.app import main; main()", "evaluate", *arguments]
    assert forks.run(reading, env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([".", str(ROOT)])}).returncode == 0


def test_a_job_finds_and_trusts_what_its_command_does_and_a_retry_asks_again(here: Path, tmp_path: Path) -> None:
    """Real jobs of ``hardware=cpu_parallel``; the first breaks in its training."""
    launch = [str(ROOT / "launch.py"), *MINE, "hardware=cpu_parallel", "hardware.poll_seconds=0.2"]
    (tmp_path / "broken").touch()
    broken = really_run(launch)
    assert broken.returncode == 1, broken.stderr
    assert status()["error"]["summary"] == "RuntimeError: the simulator broke"

    (tmp_path / "broken").unlink()
    retry = [console_script(tmp_path, "droq_exp.cli.app"), "retry", str(here / "outputs")]
    refused = run(retry)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "env.id: my_parts:Mine-v0 imports my_parts; --trust my_parts" in refused.stderr
    lost = run([*retry, "--trust", "my_parts"], tmp_path)
    assert lost.returncode == 1
    assert "no module my_parts is found; PYTHONPATH=<directory> says where it is" in lost.stderr
    done = run([*retry, "--trust", "my_parts"])
    assert done.returncode == 0, done.stderr
    assert status()["state"] == "finished"


def test_what_slurm_is_given(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM may start the job with other variables: what it must know stands in the script and in the job itself."""
    for name in ("sbatch", "srun", "scontrol"):
        stand_in(tmp_path / "bin", name, "Submitted batch job 7\n")
    monkeypatch.setitem(ENVIRONMENT, "PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(sbatch.read_text().replace("\n", f"\nenv > {tmp_path / 'inherited'}\n", 1))
    monkeypatch.setitem(ENVIRONMENT, VARIABLE, "another")
    inside = dict.fromkeys(("SLURM_MEM_PER_CPU", "SLURM_JOB_ID", "SBATCH_QOS", "PMIX_RANK", "SUBMITIT_FOLDER"), "1")
    for name, value in {**inside, "SUBMITIT_PREEMPT_SIGNAL": "USR1", "SLURM_CONF": "/etc/slurm.conf"}.items():
        monkeypatch.setitem(ENVIRONMENT, name, value)
    command = [*MINE, "hardware=slurm_cpu", "hardware.wait=false", "--trust", "my_parts"]
    done = run([str(ROOT / "launch.py"), *command])
    assert done.returncode == 0, done.stderr
    inherited = (tmp_path / "inherited").read_text().splitlines()
    asking = ("SLURM_", "SBATCH_", "PMI", "SUBMITIT_")
    assert [line for line in inherited if line.startswith(asking)] == ["SLURM_CONF=/etc/slurm.conf"]
    (script,) = Path("outputs").rglob("*_submission.sh")
    assert "#SBATCH --signal=USR2@120" in script.read_text().splitlines()
    (line,) = [line for line in script.read_text().splitlines() if "submitit.core._submit" in line]
    words = shlex.split(line)
    assert words[words.index(sys.executable) + 1 :][:4] == ["-P", "-u", "-m", "submitit.core._submit"]
    assert f"export PYTHONPATH={ROOT}${{PYTHONPATH:+:$PYTHONPATH}}" in script.read_text().splitlines()
    (pickled,) = Path("outputs").rglob("*_submitted.pkl")
    job = DelayedSubmission.load(pickled).function
    assert (list(job.trust), list(job.look_in)) == (["another", "my_parts", "my_parts:", "my_parts.Mine"], [str(here)])
    assert job.checkpoint().function == job  # what a requeue starts


def test_an_array_is_no_longer_than_the_cluster_takes(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path / "bin", "srun", "")
    stand_in(tmp_path / "bin", "scontrol", "MaxArraySize            = 2\nMaxDBDMsgs = 4\n")
    calls = stand_in(tmp_path / "bin", "sbatch", "Submitted batch job 7\n")
    monkeypatch.setitem(ENVIRONMENT, "PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    command = ["-m", *MINE, "hardware=slurm_cpu", "hardware.wait=false", "seed=0,1,2,3,4"]
    done = run([str(ROOT / "launch.py"), *command])
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "5 jobs submitted"), done.stderr
    assert len(calls.read_text().splitlines()) == 3


def test_a_place_is_looked_in_last_and_for_as_long_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    before = list(sys.path)
    with looking_in(["."]):
        assert (sys.path, own_places()) == ([*before[1:], str(tmp_path)], [str(tmp_path)])
        with looking_in([str(tmp_path)]):
            assert own_places() == [str(tmp_path)]
        assert own_places() == [str(tmp_path)]
    assert (sys.path, own_places()) == (before, [])


def test_a_job_looks_where_this_process_does_and_it_would_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inherited, mine = tmp_path / "inherited", tmp_path / "mine"
    for place in (inherited, mine):
        place.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(inherited))
    monkeypatch.setattr(sys, "path", [str(inherited), str(mine), str(tmp_path / "missing"), *sys.path])
    with looking_in([str(tmp_path)]):
        places = places_for_jobs()
    assert places[:2] == [str(tmp_path), str(mine)]
    assert not {str(inherited), str(tmp_path / "missing"), str(ROOT)} & {*places}
