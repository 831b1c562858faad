"""A task that no run can be had of is refused before anything starts, in one line that names what it does."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import forks
import gymnasium
import numpy as np
import odd_env
import pytest
from gymnasium.wrappers import TimeLimit
from real_runs import launch, log_text, runs, train

from droq_exp.config import ConfigError, compose
from droq_exp.config.task import tried
from droq_exp.envs.limits import declares_limit
from droq_exp.runs.identity import conflict, differences, identity

ODD = ("env=gym", "env.id=Odd-v0")


def odd(what: str, since: int = 2) -> list[str]:
    return [*ODD, f"env.kwargs={{odd: '{what}', since: {since}}}"]


@pytest.mark.parametrize(
    ("what", "since", "words"),
    [
        ("reward of shape (1,)", 2, r"a reward that is no number but ndarray of shape \(1,\) \(at step 2"),
        ("reward None", 2, "a reward that is no number but None"),
        ("reward of text", 2, "a reward that is no number but str"),
        ("reward nan", 2, "a reward of nan"),
        ("reward beyond float32", 2, r"a reward of 1e\+39, more than a float32 holds"),
        ("terminated an array", 2, r"terminated that is no truth value but ndarray of shape \(1,\)"),
        ("truncated None", 2, "truncated that is no truth value but None"),
        ("observation of another shape", 2, r"an observation of shape \(3,\), but its space has \(2,\) \(at step 2"),
        ("observation of another shape", 0, r"an observation of shape \(3,\), but its space has \(2,\) \(at reset\)"),
        ("observation of a matrix", 2, r"an observation of shape \(2, 1\)"),
        ("observation of text", 2, "an observation that is no array of numbers but a list of 2"),
        (
            "observation of complex numbers",
            2,
            r"an observation that is no array of numbers but ndarray of shape \(2,\)",
        ),
        ("observation masked", 2, r"an observation that is no array of numbers but MaskedArray of shape \(2,\)"),
        ("reward complex", 2, "a reward that is no number but complex"),
        ("reward masked", 2, r"a reward that is no number but MaskedArray of shape \(\)"),
        ("observation inf", 0, r"an observation whose number 1 is inf \(at reset\)"),
        ("observation beyond float32", 2, r"an observation whose number 1 is inf \(at step 2 of its episode\)"),
    ],
)
def test_a_task_that_gives_what_cannot_be_learned_is_refused(what: str, since: int, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^env\.kwargs: Odd-v0 returns {words}") as refusal:
        compose(odd(what, since))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("since", [0, 2])
def test_a_task_that_ends_the_process_is_refused(since: int) -> None:
    with pytest.raises(ConfigError, match=r"Odd-v0 cannot be (made|stepped) with .*: it called sys\.exit\(0\)"):
        compose(odd("leaves", since))


def test_a_task_that_refuses_the_actions_of_a_code_base_is_refused_with_it() -> None:
    narrow = [*ODD, "env.kwargs={low: [-0.5], high: [0.5]}"]
    compose(narrow)
    with pytest.raises(
        ConfigError, match=r"^codebase: ku sends actions in \[-1, 1\] .*: outside of the box"
    ) as refusal:
        compose([*narrow, "codebase=ku"])
    assert refusal.value.suggestion == "codebase=redq"
    compose([*ODD, "env.kwargs={low: [-2.0], high: [2.0]}", "codebase=ku"])
    compose([*ODD, "env.kwargs={low: [-0.5], high: [0.5], strict: false}", "codebase=ku"])


@pytest.mark.parametrize("what", ["reset of the old kind", "step of the old kind"])
def test_a_task_of_the_old_gym_is_refused(what: str) -> None:
    with pytest.raises(ConfigError, match=r"^env\.kwargs: Odd-v0 (returns ndarray|cannot be stepped)"):
        compose(odd(what))


def test_nothing_is_left_behind(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(*odd("reward None")) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(elsewhere.iterdir()) == []


def test_a_run_may_give_the_arguments_that_its_task_needs() -> None:
    with pytest.raises(ConfigError, match="a reward that is no number"):
        compose(["env=gym", "env.id=Needy-v0"])
    config, recipe = compose(["env=gym", "env.id=Needy-v0", "env.kwargs.odd=null"])
    assert differences(config, recipe) == {"env.kwargs.odd": ("(absent)", None)}


@pytest.mark.program
def test_why_mujoco_cannot_be_imported_is_said() -> None:
    """It is installed; Gymnasium says that it is not."""
    code = "from droq_exp.config import compose\ntry: compose([])\nexcept ValueError as error: print(error)"
    variables = os.environ | {"MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "none"}
    done = forks.run([sys.executable, "-c", code], env=variables, check=True)
    assert done.stdout.startswith("env.id: Hopper-v5 cannot be made: Cannot use OSMesa rendering platform.")
    assert done.stdout.count("\n") == 1


# Time limits


@pytest.mark.parametrize("task", [("env=gym", "env.id=Endless-v0"), ("env=hopper", "env.kwargs.max_episode_steps=-1")])
def test_a_task_without_a_time_limit_is_refused_unless_it_is_given_one(task: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^env\.max_episode_steps: .* declares no time limit, .*=1000 gives it one"):
        compose(task)
    config, recipe = compose([*task, "env.max_episode_steps=30"])
    assert differences(config, recipe)["env.max_episode_steps"] == (None, 30)


def test_a_limit_that_would_have_no_effect_is_refused() -> None:
    compose(["env=hopper", "env.max_episode_steps=1000"])
    with pytest.raises(ConfigError, match=r"2000 has no effect: .*; env\.kwargs\.max_episode_steps=2000 replaces"):
        compose(["env=hopper", "env.max_episode_steps=2000"])


def test_a_run_of_before_the_key_existed_has_the_tasks_own_limit() -> None:
    config, _ = compose(["env=hopper"])
    before = {key: value for key, value in identity(config).items() if key != "env.max_episode_steps"}
    assert conflict(before, config) is None
    limited, _ = compose(["env=hopper", "env.max_episode_steps=30"])
    assert conflict(before, limited) == "env.max_episode_steps is null there and 30 here"


def test_what_declares_a_limit() -> None:
    class Adapter(gymnasium.Env):
        def __init__(self, adapted: object) -> None:
            self._env = adapted

    class Adapted:
        def __init__(self, limit: float) -> None:
            self._step_limit = limit

    for env, declares in (
        (TimeLimit(odd_env.Odd(), 5), True),
        (gymnasium.Wrapper(TimeLimit(odd_env.Odd(), 5)), True),
        (odd_env.Odd(), False),
        (gymnasium.make("Odd-v0", max_episode_steps=-1), False),
        (Adapter(Adapted(1000.0)), True),
        (Adapter(Adapted(float("inf"))), False),
    ):
        assert declares_limit(env) == declares


# What cannot be repeated


def test_a_task_that_does_not_repeat_itself_is_known() -> None:
    state, pythons = np.random.get_state(legacy=False), random.getstate()
    remarks = {}
    for what in ("changes the action", "curriculum", "global draws"):
        config, _ = compose(odd(what))
        remarks[what] = tried(config.env).remarks
    assert remarks["changes the action"] == ()
    (curriculum,) = remarks["curriculum"]
    assert "Odd-v0 does not repeat itself (from the same seed, another reward at step 1)" in curriculum
    (drawing,) = remarks["global draws"]
    assert "Odd-v0 draws from np.random and random, which no seed of a run sets" in drawing
    np.testing.assert_equal(np.random.get_state(legacy=False), state)
    assert random.getstate() == pythons


@pytest.mark.parametrize("name", ["ant", "halfcheetah", "hopper", "humanoid", "humanoid_full", "walker2d"])
def test_the_shipped_tasks_repeat_themselves(name: str) -> None:
    config, _ = compose([f"env={name}"])
    task = tried(config.env)
    assert (task.remarks, task.declares_limit, task.step_limit) == ((), True, 1000)


def test_a_remark_is_made_once_and_is_in_each_log(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    acts = "env.kwargs={odd: curriculum, low: [-2.0], high: [0.5], strict: false}"
    assert train(*ODD, acts, "seed=[0,1]", "codebase=ku", "training.total_steps=55") == 0
    shown = capsys.readouterr().err
    for words in (
        "Odd-v0 does not repeat itself (from the same seed, another reward at step 1): ",
        "codebase=ku sends actions in [-1, 1]; the action box of Odd-v0 is [-2, 0.5]",
    ):
        assert [text.count(words) for text in (shown, *map(log_text, runs()))] == [1, 1, 1]


def test_a_task_that_cannot_be_closed_is_said_to_be_and_no_run_fails(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert train(*odd("close"), "seed=[0,1]", "codebase=ku", "training.total_steps=55") == 0
    assert [record.getMessage() for record in caplog.records] == [
        "Odd-v0 raises when it is closed: RuntimeError: the simulator is gone"
    ]


def test_a_mujoco_of_other_contacts_is_named(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("env=inverted_pendulum", "bias.min_pairs=10", "training.total_steps=50")
    monkeypatch.setattr("droq_exp.training.remarks.versions", lambda: {"mujoco": "3.4.0"})
    assert train(*command) == 0
    assert "MuJoCo 3.4.0: contacts of Hopper, Ant and Humanoid are not those of 3.3.5" in log_text(runs()[0])
    monkeypatch.undo()
    assert train(*command, "seed=1") == 0
    assert "contacts" not in log_text(runs()[1])
