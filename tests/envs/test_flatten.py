"""Observations of parts as a vector, beside the task itself."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from droq_exp.envs.flatten import FlatObservation
from droq_exp.envs.make import check_env, space_dims

STEPS = 200
SMALL = spaces.Box(-1, 1, (2,), np.float32)


class Parts(gymnasium.Env):
    """Gives one observation."""

    action_space = SMALL

    def __init__(self, space: spaces.Space, value: Any = None) -> None:
        self.observation_space = space
        self._value = value

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._value, {}


@pytest.mark.parametrize(
    ("space", "value", "order", "vector"),
    [
        (
            spaces.Dict({"b": SMALL, "a": spaces.Discrete(3, start=1)}),  # sorted
            {"b": np.float32([0.5, -0.5]), "a": 3},
            [("a", 3), ("b", 2)],
            [0, 0, 1, 0.5, -0.5],
        ),
        (
            spaces.Dict(OrderedDict(b=SMALL, a=spaces.MultiBinary(2))),  # as it is
            {"a": np.int8([1, 0]), "b": np.float32([0.5, -0.5])},
            [("b", 2), ("a", 2)],
            [0.5, -0.5, 1, 0],
        ),
        (
            spaces.Tuple([spaces.Box(-9, 9, (2, 2), np.float64), spaces.Dict({"x": spaces.Box(0, 9, (), np.uint8)})]),
            (np.array([[1.0, 2.0], [3.0, 4.0]]), {"x": np.uint8(5)}),
            [("0", 4), ("1/x", 1)],
            [1, 2, 3, 4, 5],
        ),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 0]), [("observation", 5)], [0, 1, 1, 0, 0]),
        (spaces.Box(-9, 9, (1, 2, 2)), np.float32([[[1, 2], [3, 4]]]), [("observation", 4)], [1, 2, 3, 4]),
    ],
)
def test_parts_come_in_the_spaces_order(space: Any, value: Any, order: list[tuple[str, int]], vector: list[float]):
    env = FlatObservation(Parts(space, value))
    check_env(env)
    assert env.observation_order == order
    obs, _ = env.reset(seed=0)
    assert obs.tolist() == vector
    assert obs in env.observation_space


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), r"observation is an image, uint8 of shape \(8, 8, 3\)"),
        (spaces.Dict({"eyes": spaces.Tuple([spaces.Box(0, 255, (8, 8, 3), np.uint8)])}), "eyes/0 is an image"),
        (spaces.Dict({"said": spaces.Text(3)}), "said is a Text; allowed: numbers"),
        (spaces.Sequence(SMALL), "observation is a Sequence"),
        (spaces.OneOf([SMALL]), "observation is a OneOf"),
    ],
)
def test_images_and_what_is_no_number_are_refused_in_one_line(space: spaces.Space, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        FlatObservation(Parts(space))
    assert "\n" not in str(caught.value)


@pytest.fixture
def fetch():
    """Makes FetchReach-v4 with episodes of ``STEPS``."""
    robotics = pytest.importorskip("gymnasium_robotics")
    gymnasium.register_envs(robotics)
    return lambda: gymnasium.make("FetchReach-v4", disable_env_checker=True, max_episode_steps=STEPS)


def actions(number: int) -> np.ndarray:
    return np.random.default_rng(number).uniform(-1, 1, (STEPS, 4)).astype(np.float32)


def test_fetch_reach_is_the_task_itself(fetch) -> None:
    env, oracle = FlatObservation(fetch()), fetch()
    check_env(env)
    assert space_dims(env) == (16, 4)
    assert env.observation_order == [("achieved_goal", 3), ("desired_goal", 3), ("observation", 10)]
    for number, seed in enumerate((5, None)):
        obs, (expected, _) = env.reset(seed=seed)[0], oracle.reset(seed=seed)
        for action in actions(number):
            parts = [expected[key] for key in ("achieved_goal", "desired_goal", "observation")]
            np.testing.assert_array_equal(obs, np.concatenate(parts))
            assert obs.dtype == np.float64
            obs, *ends, _ = env.step(action)
            expected, *expected_ends, _ = oracle.step(action)
            assert ends == expected_ends
        assert ends[2]


def test_the_third_episode_of_fetch_reach_is_made_anew_from_the_generator_alone(fetch) -> None:
    def episode(env: gymnasium.Env, seed: int | None, number: int) -> list[list[float]]:
        seen = [env.reset(seed=seed)[0].tolist()]
        for action in actions(number):
            obs, reward, *_ = env.step(action)
            seen.append([*obs.tolist(), reward])
        return seen

    old, new = FlatObservation(fetch()), FlatObservation(fetch())
    episode(old, 7, 0)
    episode(old, None, 1)
    state = old.unwrapped.np_random.bit_generator.state
    went = episode(old, None, 2)
    new.reset(seed=11)
    new.unwrapped.np_random.bit_generator.state = state
    assert episode(new, None, 2) == went
