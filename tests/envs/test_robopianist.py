"""RoboPianist's songs beside the suite itself, stepped directly; and the scores of keys by hand, without it."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import forks
import gymnasium
import numpy as np
import pytest
from episodes import episode

from droq_exp.config import ConfigError, compose
from droq_exp.config.task import tried
from droq_exp.envs.key_scores import key_scores
from droq_exp.envs.make import check_env, make_env, space_dims
from droq_exp.envs.robopianist import SETTINGS, make_robopianist, register_robopianist, robopianist_id

SONG = "TwinkleTwinkleRousseau"
STEPS = 158  # of it
SHORT = "CMajorChordProgressionTwoHands"  # 81 steps
PARTS = [
    ("goal", 979),
    ("fingering", 10),
    ("piano/state", 88),
    ("piano/sustain_state", 1),
    ("rh_shadow_hand/joints_pos", 23),
    ("lh_shadow_hand/joints_pos", 23),
    ("action", 39),
    ("reward", 1),
]


@pytest.fixture
def suite() -> Any:
    """``robopianist.suite``, where it is installed; imported as the project imports it."""
    pytest.importorskip("robopianist")
    return importlib.import_module("droq_exp.envs.robopianist")._packages()[0]


def keys(*down: int) -> np.ndarray:
    return np.isin(np.arange(88), down)


def actions(env: gymnasium.Env, seed: int, count: int = STEPS) -> np.ndarray:
    low, high = env.action_space.low, env.action_space.high
    return np.random.RandomState(seed).uniform(low, high, (count, len(low)))


# Scores, without RoboPianist


@pytest.mark.parametrize(
    ("goal", "pressed", "expected"),
    [
        (keys(), keys(), (1, 1, 1)),
        (keys(3), keys(3), (1, 1, 1)),
        (keys(3), keys(), (1, 0, 0)),
        (keys(), keys(3), (0, 1, 0)),
        (keys(3), keys(4), (0, 0, 0)),
        (keys(0, 1, 2), keys(2, 3), (1 / 2, 1 / 3, 2 / 5)),
        (keys(10, 20), keys(10, 20, 30, 87), (2 / 4, 1, 2 / 3)),
    ],
)
def test_scores_of_a_step(goal: np.ndarray, pressed: np.ndarray, expected: tuple[float, ...]) -> None:
    scores = key_scores(goal, pressed)
    assert scores == pytest.approx(expected, abs=1e-15)
    assert [type(score) for score in scores] == [float] * 3


# The suite


def test_a_song_is_the_suites_own_step_by_step(suite: Any) -> None:
    env = make_robopianist(SONG)
    check_env(env)
    assert (space_dims(env), env.observation_order, env.max_episode_steps, env.dt) == ((1164, 39), PARTS, STEPS, 0.05)
    oracle = suite.load(f"RoboPianist-debug-{SONG}-v0", task_kwargs=SETTINGS)
    for number in range(2):
        expected, obs = oracle.reset(), env.reset(seed=None if number else 3)[0]
        added, scores = [*oracle.action_spec().minimum, 0.0], []
        for step, action in enumerate(actions(env, number)):
            np.testing.assert_array_equal(obs, np.concatenate([*map(np.ravel, expected.observation.values()), added]))
            assert obs in env.observation_space
            expected = oracle.step(action)
            obs, reward, *ended, info = env.step(action)
            wanted = keys(*(note.key for note in oracle.task._notes[step]))
            scores.append(key_scores(wanted, oracle.task.piano.activation))
            assert (type(reward), reward, *ended) == (float, expected.reward, False, expected.last())
            assert list(info.values()) == pytest.approx(np.mean(scores, axis=0))
            added = [*action, reward]
        assert (step + 1, expected.last(), expected.discount) == (STEPS, True, 1.0)
        assert list(info) == ["precision", "recall", "f1"]
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(action)


def test_the_scores_of_random_actions_and_of_silence(suite: Any) -> None:
    """Those of RoboPianist's own wrapper on the same actions, which scikit-learn has computed."""
    env = make_robopianist(SONG)
    *_, (*_, info) = episode(env, 0, actions(env, 0))
    scores = {"precision": 0.7494725738396624, "recall": 0.11075949367088607, "f1": 0.09662447257383966}
    assert info == pytest.approx(scores, abs=1e-12)
    env.adapted.task.piano._update_key_state = lambda physics: None  # no key is ever down
    *_, (*_, info) = episode(env, 0, actions(env, 0))
    assert info == pytest.approx({"precision": 1.0, "recall": 9 / 158, "f1": 9 / 158}, abs=1e-12)


def test_the_third_episode_is_made_anew_from_the_generator_alone(suite: Any) -> None:
    """With hands in random places, or else a seed would change nothing."""
    old, new = (make_robopianist(SHORT, task_kwargs={"randomize_hand_positions": True}) for _ in range(2))
    acts = actions(old, 0)
    first, second = episode(old, 7, acts), episode(old, None, acts)
    state = old.np_random.bit_generator.state
    third = episode(old, None, acts)
    new.reset(seed=11)
    new.np_random.bit_generator.state = state
    assert episode(new, None, acts) == third
    assert len(third) == 82
    assert len({seen[-1][0] for seen in (first, second, third)}) == 3


def test_a_wrong_key_may_end_the_episode(suite: Any) -> None:
    """Truncated: the task's discount is 0 only once that of the last step has been told."""
    env = make_robopianist(SHORT, task_kwargs={"wrong_press_termination": True})
    for _ in range(2):
        seen = episode(env, 0, actions(env, 0))
        assert len(seen) < 81
        assert seen[-1][2:4] == (False, True)
        assert seen[-1][-1]["precision"] < 1


def test_a_song_may_be_longer_and_look_ahead_shorter(suite: Any) -> None:
    env = make_robopianist(SHORT, stretch=2.0, task_kwargs={"n_steps_lookahead": 1})
    assert env.observation_order[0] == ("goal", 178)
    assert env.max_episode_steps == 161


# By its name


def test_a_song_is_registered_once_it_is_asked_for(suite: Any) -> None:
    env = make_env("robopianist", robopianist_id("NocturneRousseau"), {})
    assert env.spec.id == "robopianist/NocturneRousseau-v0"
    before = dict(gymnasium.registry)
    for other in ("Hopper-v5", "robopianist/NocturneRousseau", robopianist_id("NocturneRousseau")):
        register_robopianist(other)
    assert gymnasium.registry == before


@pytest.mark.parametrize(
    ("song", "message"),
    [
        ("TwinkleTwinkleRouseau", "env.task: RoboPianist's suite has no song .*; did you mean TwinkleTwinkleRousseau?"),
        ("nocturnerousseau", "env.task: RoboPianist's suite has no song .*; did you mean NocturneRousseau?"),
    ],
)
def test_an_unknown_song_is_refused_with_the_nearest(suite: Any, song: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compose(["env=robopianist", f"env.task={song}"])
    assert "\n" not in str(caught.value)


def test_a_song_of_a_missing_data_set_is_refused(suite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robopianist.music.ALL", ["CMajorScaleOneHand"])
    with pytest.raises(gymnasium.error.DependencyNotInstalled, match=r"WaltzOp64No1 is of the PIG .*: CMajorScaleOneH"):
        register_robopianist(robopianist_id("WaltzOp64No1"))


def test_a_task_is_composed_and_repeats_itself(suite: Any) -> None:
    config, recipe = compose(["env=robopianist", f"env.task={SHORT}", "env.max_episode_steps=40"])
    assert config.env.id == recipe.env.id == robopianist_id(SHORT)
    task = tried(config.env)
    assert (task.step_limit, task.remarks, task.order, task.refusal) == (81, (), tuple(PARTS), None)
    with pytest.raises(ConfigError, match=r"82 has no effect: .* 81 steps of its own; env\.kwargs\.stretch=<factor>"):
        compose(["env=robopianist", f"env.task={SHORT}", "env.max_episode_steps=82"])


REFUSED = """
import sys
sys.modules["{missing}"] = None
from droq_exp.config import compose
compose(["env=gym", "env.id=Pendulum-v1"])
try:
    compose(["experiment=robopianist"])
except ValueError as error:
    print(error)
"""


def test_where_robopianist_is_missing_one_line_says_what_installs_it() -> None:
    done = forks.run([sys.executable, "-c", REFUSED.format(missing="robopianist")], check=True)
    assert done.stdout.startswith("env.task: robopianist is not installed; pip install 'droq-exp[robopianist]'")
    assert done.stdout.count("\n") == 1


def test_what_robopianist_misses_is_named(suite: Any) -> None:
    done = forks.run([sys.executable, "-c", REFUSED.format(missing="pyaudio")], check=True)
    assert done.stdout.startswith("env.task: pyaudio is not installed; pip install 'droq-exp[robopianist]'")
    assert done.stdout.count("\n") == 1


ALONE = """
import logging, warnings
import mujoco
from droq_exp.envs.make import make_env, _log_mujoco_warning
before = [*logging.root.handlers], [*warnings.filters]
make_env("robopianist", "robopianist/CMajorScaleOneHand-v0", {}).reset(seed=0)
assert mujoco.get_mju_user_warning() is _log_mujoco_warning
assert (logging.root.handlers, warnings.filters) == before
"""


def test_robopianist_does_nothing_to_the_process_and_needs_no_display(suite: Any) -> None:
    done = forks.run([sys.executable, "-c", ALONE], check=True)
    assert (done.stdout, done.stderr) == ("", "")


DRAW = """
import numpy as np
from droq_exp.envs.make import make_env
from droq_exp.evaluation.rendering import RenderingError, use_offscreen
try:
    use_offscreen()
except RenderingError as error:
    print("cannot", error)
    raise SystemExit
env = make_env("robopianist", "robopianist/CMajorScaleOneHand-v0", {"render_mode": "rgb_array", "width": 64})
env.reset(seed=0)
picture = env.render()
assert (picture.shape, picture.dtype) == ((480, 64, 3), np.uint8)
assert picture.std() > 10
env.close()
print("drawn")
"""


def test_pictures_are_drawn_from_the_back_of_the_piano(suite: Any) -> None:
    said = forks.run([sys.executable, "-c", DRAW], check=True).stdout
    if said.startswith("cannot"):
        pytest.skip(said)
    assert said == "drawn\n"
