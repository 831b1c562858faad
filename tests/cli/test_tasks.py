"""``droq-exp tasks`` lists what is installed and can be learned."""

from __future__ import annotations

import json

import pytest
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
