"""What passes between this project and a task: copies, and only what can be learned from."""

from __future__ import annotations

from pathlib import Path

import counting_env  # noqa: F401  (registers its tasks)
import numpy as np
import odd_env
import pytest
from gymnasium import spaces
from real_runs import breaking, interrupt_at, only_run, same_weights, status, train, train_in

from droq_exp.envs.exchange import TaskError, reset, step
from droq_exp.envs.make import action_bounds, check_env
from droq_exp.runs.replay_file import ReplayFile

ZERO = np.zeros(1, np.float32)


@pytest.mark.parametrize("what", odd_env.GIVEN)
def test_what_a_task_gives_is_named_with_the_step(what: str) -> None:
    env = odd_env.Odd(odd=what)
    reset(env, 0)
    step(env, ZERO, 1)
    with pytest.raises(TaskError, match=rf"^Odd returns .*{what.split()[0]}.* \(at step 2 of its episode\)$"):
        step(env, ZERO, 2)


def test_an_action_that_is_not_finite_is_not_blamed_on_the_task() -> None:
    env = odd_env.Odd(strict=False)
    reset(env, 0)
    with pytest.raises(ValueError, match="the policy's action is not finite"):
        step(env, np.full(1, np.nan, np.float32), 1)


def test_large_observations_are_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(odd_env.GIVEN, "large", {"obs": np.array([3e38, -3e38])})
    env = odd_env.Odd(odd="large", since=0)
    np.testing.assert_array_equal(reset(env, 0), np.array([3e38, -3e38], np.float32))


def test_arrays_are_nobody_elses() -> None:
    env = odd_env.Odd(odd="one observation array")
    before, action = reset(env, 0), np.ones(1, np.float32)
    outcome = step(env, action, 1)
    step(env, action, 2)
    assert (before[1], outcome.obs[1]) == (0, 1)
    env.odd = "changes the action"
    outcome = step(env, action, 3)
    assert (action[0], outcome.action[0]) == (1, 1)
    outcome.action[:] = 0
    assert action[0] == 1


def test_the_replay_holds_what_the_policy_did_and_the_run_goes_on_exactly(elsewhere: Path, tmp_path: Path) -> None:
    """Of a task that changes the array of its action; its observations are one array too."""
    command = ("env=gym", "env.id=Odd-v0", "env.kwargs.odd='changes the action'", "codebase=ku")
    command = (*command, "checkpoint.keep_replay=true")
    kept: list[np.ndarray] = []
    append = ReplayFile.append
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReplayFile, "append", lambda self, rows: (kept.append(rows.copy()), append(self, rows)))
        (whole,) = train_in(tmp_path / "whole", *command)
    rows = np.concatenate(kept)
    assert len(rows) == 100
    np.testing.assert_array_equal(rows[:, 2], rows[:, 3])  # the reward is the action
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(73, patch)
        assert train(*command) == 143
    assert train(*command) == 0
    assert "cannot be resumed exactly" not in (only_run() / "train.log").read_text()
    assert same_weights(only_run(), whole)


@pytest.mark.parametrize("how", ["nan_reward", "inf_reward"])
def test_what_is_not_finite_is_named_where_it_comes_from(how: str, elsewhere: Path) -> None:
    assert train(*breaking(seed=0, at=64, how=how)) == 1
    told = status(only_run())
    assert told["step"] == 64
    summary = told["error"]["summary"]
    assert f"Counting-v0 returns a reward of {how[:3]} (at step 4 of its episode)" in summary


def test_boxes_that_float32_cannot_hold_are_refused_and_others_rounded_inwards() -> None:
    env = odd_env.Odd(low=[-0.1], high=[0.1], dtype="float64")
    low, high = action_bounds(env)
    assert (low > -0.1, high < 0.1) == ([True], [True])
    assert (float(np.nextafter(low, -1)[0]), float(np.nextafter(high, 1)[0])) < (-0.1, 0.2)
    for bounds in ([0.1, 0.1 + 1e-12], [-3e38, 3e38]):
        env.action_space = spaces.Box(*(np.array([each]) for each in bounds), dtype=np.float64)
        with pytest.raises(ValueError, match="an action box that float32 cannot hold"):
            check_env(env)
