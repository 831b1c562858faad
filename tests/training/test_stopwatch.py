"""Seconds by activity."""

from __future__ import annotations

import pytest
from real_runs import launch, only_run, rows

from droq_exp.training.stopwatch import Stopwatch

pytestmark = pytest.mark.program


def test_activities_are_counted_apart_until_taken() -> None:
    watch = Stopwatch("env", "update")
    with watch("env"):
        sum(range(100_000))
    with pytest.raises(ZeroDivisionError), watch("env"):
        _ = 1 / 0
    taken = watch.take()
    assert taken["env_seconds"] > taken["update_seconds"] == 0
    assert set(watch.take().values()) == {0.0}
    watch.resume({"env": 2.0})
    with watch("env"):
        pass
    assert watch.take()["env_seconds"] >= 2


def test_a_runs_time_is_told_by_activity() -> None:
    assert launch() == 0
    run = only_run()
    before, learning = rows(run, "train")
    activities = ("env_seconds", "sample_seconds", "update_seconds")
    assert [float(before[name]) for name in activities[1:]] == [0, 0]  # no updates yet
    assert all(float(learning[name]) > 0 for name in activities)
    evaluated = rows(run, "eval")
    assert all(float(row["evaluate_seconds"]) > 0 for row in evaluated)
    spent = sum(float(row[name]) for row in (before, learning) for name in activities)
    spent += sum(float(row["evaluate_seconds"]) for row in evaluated)
    assert spent < float(evaluated[-1]["wall_seconds"])
