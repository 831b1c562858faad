"""Commands that read, given a directory from somebody else: they import nothing that it names or holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_sweep import configuration, made_run
from run_files import ENVIRONMENT, write_job

from droq_exp.config.targets import VARIABLE

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parents[2]
LEAVES_A_TRACE = "import pathlib, os\npathlib.Path(os.environ['TRACE']).open('a').write(__name__ + '\\n')\n"
BAITS = ("evil", "yaml", "mujoco", "gymnasium", "pandas", "hydra_plugins/bait")  # in the directory where one looks


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with runs that name ``evil`` wherever a module can be named; it could be imported, too."""
    importable, here = tmp_path / "importable", tmp_path / "here"
    for place in (importable / "evil", *(here / bait for bait in BAITS)):
        place.mkdir(parents=True)
        (place / "__init__.py").write_text(LEAVES_A_TRACE)
    content = configuration("droq", "hopper")
    evil: dict[str, dict[str, Any]] = {
        "algo": {"_target_": "evil.Agent"},
        "env": {"_target_": "evil.make", "name": "gym", "id": "evil:X-v0"},
        "codebase": {"_target_": "evil.Codebase"},
        "logger": {"evil": {"_target_": "evil.Logger"}},
        "callbacks": {"evil": {"_target_": "evil.Callback"}},
        "hydra": {"callbacks": {"evil": {"_target_": "evil.Callback"}}, "searchpath": ["pkg://evil"]},
    }
    for group, values in evil.items():
        content[group] = {**content.get(group, {}), **values}
    for folder in ("evil=X-v0", "hopper"):
        run = made_run(here / "outputs", "droq", "gym", 0, evaluations=3, config=content, folder=folder)
        lines = ["env=gym", "env.id='evil\\:X-v0'", "algo._target_=evil.Agent", "hydra.searchpath=[pkg://evil]"]
        write_job(run, "elsewhere:1:1:started", *lines, backend="local")
    experiment = here / "theirs" / "experiment" / "theirs.yaml"
    experiment.parent.mkdir(parents=True)
    lines = ["# @package _global_", "defaults:", "  - override /env: gym", "env:", "  id: evil:X-v0"]
    experiment.write_text("\n".join(lines))
    swept = "# @package _global_\nhydra: {sweeper: {params: {env: gym, env.id: 'evil:X-v0,evil:Y-v0'}}}\n"
    experiment.with_name("swept.yaml").write_text(swept)
    monkeypatch.chdir(here)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setitem(ENVIRONMENT, "PYTHONPATH", os.pathsep.join([ENVIRONMENT["PYTHONPATH"], str(importable)]))
    monkeypatch.setitem(ENVIRONMENT, "TRACE", str(tmp_path / "trace"))
    return tmp_path


def imported(foreign: Path) -> str:
    trace = foreign / "trace"
    return trace.read_text() if trace.exists() else ""


def run(foreign: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``program``, of droq_exp, as its installed script is: with the script's directory on the path, no other."""
    module = {"droq-exp": "droq_exp.cli.app", "launch.py": "droq_exp.launch"}[program]
    script = foreign / "bin" / program
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"from {module} import main\nmain()\n")
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


def test_the_baits_work(foreign: Path) -> None:
    for bait in ("import evil", "import yaml"):
        subprocess.run([sys.executable, "-c", bait], env=ENVIRONMENT, check=False)
    assert imported(foreign).split() == ["evil", "yaml"]


def test_status_lists_the_runs(foreign: Path) -> None:
    done = run(foreign, "droq-exp", "status", "outputs", "--json")
    told = json.loads(done.stdout)
    assert [item["name"].split("/")[-2] for item in told["runs"]] == ["evil=X-v0", "hopper"]
    assert told["counts"] == {"finished": 2}
    assert imported(foreign) == ""


def test_report_lists_the_runs(foreign: Path) -> None:
    done = run(foreign, "droq-exp", "report", "outputs")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "2 runs: 2 done"), done.stderr
    assert "evil" in Path("outputs/report/index.html").read_text()
    assert imported(foreign) == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["cancel", "outputs"], 0), (["sync", "outputs", "--dry-run"], None), (["--help"], 0)],
)
def test_the_others_leave_it_alone_too(arguments: list[str], code: int | None, foreign: Path) -> None:
    done = run(foreign, "droq-exp", *arguments)
    assert code in (None, done.returncode), done.stderr
    assert "Traceback" not in done.stderr
    assert imported(foreign) == ""


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["env=gym", "env.id=evil:X-v0"], "env.id: evil:X-v0 imports evil; --trust evil allows that"),
        (["algo._target_=evil.Agent"], "algo._target_: evil.Agent is not one of this project's; --trust evil builds"),
        (["hydra.searchpath=[pkg://evil]"], "hydra.searchpath: pkg://evil imports evil; --trust evil allows that"),
        (["--config-dir", "theirs", "experiment=theirs"], "env.id: evil:X-v0 imports evil; --trust evil allows that"),
        (["--config-dir", "theirs", "experiment=swept"], "env.id: evil:X-v0 imports evil; --trust evil allows that"),
        (["env=hopper"], "output_dir: "),  # the run that is there
    ],
)
def test_plan_refuses_in_one_line(overrides: list[str], problem: str, foreign: Path) -> None:
    done = run(foreign, "droq-exp", "plan", *overrides)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(f"error: {problem}")
    assert imported(foreign) == ""


def test_plan_imports_what_is_trusted_but_not_from_where_it_is_started(foreign: Path) -> None:
    done = run(foreign, "droq-exp", "plan", "env=gym", "env.id=evil:X-v0", "--trust", "evil")
    assert "evil:X-v0 is not registered with Gymnasium" in done.stderr
    assert imported(foreign) == "evil\n"
    (foreign / "importable" / "evil" / "__init__.py").unlink()
    (foreign / "importable" / "evil").rmdir()
    done = run(foreign, "droq-exp", "plan", "env=gym", "env.id=evil:X-v0", "--trust", "evil")
    line = "error: env.id: no module evil is found; PYTHONPATH=<directory> says where it is"
    assert done.stderr.startswith(line), done.stderr
    assert imported(foreign) == "evil\n"


def test_help_of_training_looks_at_nothing(foreign: Path) -> None:
    assert run(foreign, "launch.py", "--help").returncode == 0
    assert imported(foreign) == ""


@pytest.mark.parametrize("experiment", ["theirs", "swept"])
def test_a_file_of_an_experiment_names_no_module_for_training(experiment: str, foreign: Path) -> None:
    sweep = ["-m"] if experiment == "swept" else []
    done = run(foreign, "launch.py", *sweep, "--config-dir", "theirs", f"experiment={experiment}")
    assert done.stderr.startswith("error: env.id: evil:X-v0 imports evil; --trust evil allows that"), done.stderr
    assert "evil" not in imported(foreign)
