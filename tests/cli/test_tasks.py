"""``droq-exp tasks`` lists what is installed and can be learned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from real_runs import ROOT
from run_files import droq_exp


def test_tasks_of_all_suites_that_can_be_learned(capsys: pytest.CaptureFixture[str]) -> None:
    assert droq_exp("tasks", "Reach", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    found = {task["id"]: task for task in told["tasks"]}
    assert found["Reacher-v5"] == {"id": "Reacher-v5", "observation": 10, "action": 2, "limit": 50}
    assert found["dm_control/reacher-easy-v0"]["limit"] == 1000
    assert found["FetchReach-v4"]["observation"] == 16
    assert "Reacher-v4" not in found  # the newest version alone
    assert all(line.startswith("RoboPianist: pip install 'droq-exp[robopianist]'") for line in told["missing"])


def test_a_table_and_no_task_of_discrete_actions(capsys: pytest.CaptureFixture[str]) -> None:
    assert droq_exp("tasks", "pendulum-v") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["id", "observation", "action", "limit"]
    assert ["InvertedPendulum-v5", "4", "1", "1000"] in lines
    assert droq_exp("tasks", "CartPole-v") == 2
    assert capsys.readouterr().err.startswith("error: no task that is installed and can be learned has 'CartPole-v'")


def test_suites_that_are_not_installed_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("droq_exp.envs.suites.find_spec", lambda module: None)
    assert droq_exp("tasks", "Pendulum-v1") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not installed: ")]
    for extra in ("dmc", "robotics", "box2d", "robopianist"):
        assert sum(f"pip install 'droq-exp[{extra}]'" in line for line in lines) == 1
    assert droq_exp("tasks", "swimmer-swimmer15") == 2  # which no other test registers with Gymnasium
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "droq-exp[dmc]" in error


def broken_package(place: Path, module: str, content: str) -> dict[str, str]:
    """The environment of a process that finds ``module`` with this content first."""
    (place / module).mkdir()
    (place / module / "__init__.py").write_text(content)
    paths = map(str, (place, ROOT, ROOT / "tests" / "helpers"))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.program
@pytest.mark.parametrize(
    ("module", "content", "id", "reason"),
    [
        ("gymnasium_robotics", "import no_such_package", "FetchReach-v4", "No module named 'no_such_package'"),
        ("gymnasium_robotics", "def (", "FetchReach-v4", "SyntaxError: invalid syntax"),
        ("dm_control", "def (", "dm_control/cheetah-run-v0", "invalid syntax"),
        ("none", "", "dm_control/cheetah-rum-v0", "did you mean cheetah-run?"),
        ("none", "", "robopianist/NocturneRousseau-v0", "robopianist is not installed; pip install"),
    ],
)
def test_a_task_of_a_suite_says_why_it_cannot_be_had(
    module: str, content: str, id: str, reason: str, tmp_path: Path
) -> None:
    environment = broken_package(tmp_path, module, content)
    command = [sys.executable, str(ROOT / "launch.py"), "env=gym", f"env.id={id}", "--cfg", "job"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"error: env.id: {id} cannot be had: ")
    assert reason in done.stderr


@pytest.mark.program
def test_a_suite_that_is_broken_hides_no_other(tmp_path: Path) -> None:
    environment = broken_package(tmp_path, "gymnasium_robotics", "import no_such_package")
    program = "from droq_exp.cli.app import main; main()"
    command = [sys.executable, "-c", program, "tasks", "Pusher"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Pusher-v5" in done.stdout
    assert "broken: gymnasium-robotics: gymnasium_robotics cannot be imported: ModuleNotFoundError" in done.stdout
