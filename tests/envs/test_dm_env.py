"""The adapter beside what it adapts: dm_control's suite, a composer task, and small environments of dm_env alone."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import forks
import gymnasium
import numpy as np
import pytest

dm_env = pytest.importorskip("dm_env")
suite = pytest.importorskip("dm_control.suite")

from dm_env import specs  # noqa: E402

from droq_exp.envs.dm_env import DmEnv  # noqa: E402
from droq_exp.envs.dmc import dmc_id, make_dmc, register_dmc  # noqa: E402
from droq_exp.envs.limits import declares_limit  # noqa: E402
from droq_exp.envs.make import check_env, make_env, space_dims  # noqa: E402
from droq_exp.envs.trial import difference_when_repeated  # noqa: E402

STEPS = 200
TASKS = {"cheetah-run": (17, 6), "humanoid-walk": (67, 21), "dog-run": (223, 38)}


def actions(env: gymnasium.Env, count: int, seed: int = 0) -> np.ndarray:
    low, high = env.action_space.low, env.action_space.high
    return np.random.default_rng(seed).uniform(low, high, (count, len(low))).astype(np.float32)


def episode(env: gymnasium.Env, seed: int | None, acts: np.ndarray) -> list[tuple[Any, ...]]:
    """(observation, reward, terminated, truncated) of the reset and of each step."""
    seen = [(env.reset(seed=seed)[0].tobytes(), 0.0, False, False)]
    for action in acts:
        obs, *rest, info = env.step(action)
        assert info == {}
        seen.append((obs.tobytes(), *rest))
        if rest[1] or rest[2]:
            break
    return seen


def drawn(rng: np.random.Generator) -> np.random.RandomState:
    """What the adapter's reset makes of its generator."""
    return np.random.RandomState(int(rng.integers(2**32)))


# The suite itself


@pytest.mark.program
@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_the_suites_own_step_by_step(task: str) -> None:
    env = make_dmc(task)
    check_env(env)
    assert space_dims(env) == TASKS[task]
    rng = gymnasium.utils.seeding.np_random(3)[0]
    for number in range(2):
        oracle = suite.load(*task.rsplit("-", 1), task_kwargs={"random": drawn(rng)})
        expected = oracle.reset()
        obs, _ = env.reset(seed=None if number else 3)
        for action in actions(env, STEPS, number):
            values = [np.asarray(value, dtype=np.float64) for value in expected.observation.values()]
            order = [(key, value.size) for key, value in zip(expected.observation, values, strict=True)]
            assert env.observation_order == order
            np.testing.assert_array_equal(obs, np.concatenate([value.ravel() for value in values]))
            assert obs in env.observation_space
            expected = oracle.step(action.astype(np.float64))
            obs, reward, terminated, truncated, _ = env.step(action)
            assert (type(reward), reward, terminated, truncated) == (float, expected.reward, False, expected.last())


def test_scalars_and_matrices_are_numbers_in_c_order() -> None:
    assert ("head_height", 1) in make_dmc("humanoid-walk").observation_order
    env = make_dmc("manipulator-bring_ball")
    obs, _ = env.reset(seed=0)
    assert env.observation_order[0] == ("arm_pos", 16)
    positions = env.adapted.task.get_observation(env.adapted.physics)["arm_pos"]
    assert positions.shape == (8, 2)
    np.testing.assert_array_equal(obs[:16], positions.ravel(order="C"))


def test_a_time_limit_truncates_and_is_declared() -> None:
    env = make_dmc("cheetah-run", task_kwargs={"time_limit": 0.5})
    assert env.max_episode_steps == 50
    assert declares_limit(env)
    seen = episode(env, 0, actions(env, 60))
    assert len(seen) == 51
    assert seen[-1][2:] == (False, True)
    assert make_dmc("cheetah-run").max_episode_steps == 1000
    endless = make_dmc("cheetah-run", task_kwargs={"time_limit": float("inf")})
    assert endless.max_episode_steps is None
    assert not declares_limit(endless)


# The third episode


def third_episodes(envs: Iterator[gymnasium.Env], steps: int = STEPS) -> list[list[tuple[Any, ...]]]:
    """The third episode of the first environment, and of the second, which gets no more than the generator's state."""
    old, new = envs
    acts = [actions(old, steps, number) for number in range(3)]
    episode(old, 7, acts[0])
    episode(old, None, acts[1])
    state = old.unwrapped.np_random.bit_generator.state
    went = episode(old, None, acts[2])
    new.reset(seed=11)
    new.unwrapped.np_random.bit_generator.state = state
    return [went, episode(new, None, acts[2])]


@pytest.mark.program
@pytest.mark.parametrize(
    "task",
    [
        *TASKS,
        "quadruped-escape",  # draws terrain
        "manipulator-insert_peg",  # moves bodies of the model
        "fish-swim",  # and geoms
        "point_mass-hard",  # and gains
        "stacker-stack_2",
    ],
)
def test_the_third_episode_is_made_anew_from_the_generator_alone(task: str) -> None:
    went, again = third_episodes(make_dmc(task) for _ in range(2))
    assert len(went) == STEPS + 1
    assert again == went


class Scaling(suite.cheetah.Cheetah):
    """Each episode scales the masses of the last one, as a careless task may."""

    def initialize_episode(self, physics: Any) -> None:
        physics.model.body_mass[:] *= self.random.uniform(0.5, 2)
        physics.model.opt.gravity[2] *= self.random.uniform(0.5, 2)
        super().initialize_episode(physics)


def scaling() -> Any:
    physics = suite.cheetah.Physics.from_xml_string(*suite.cheetah.get_model_and_assets())
    return suite.cheetah.control.Environment(physics, Scaling(), time_limit=10)


def test_what_an_episode_did_to_the_model_is_gone_in_the_next() -> None:
    went, again = third_episodes(DmEnv(scaling()) for _ in range(2))
    assert again == went


def corridor(seconds: float = 3.0, **arguments: Any) -> Any:
    """A composer environment whose walls and humanoid are random; it ends with discount 0 once the humanoid falls."""
    from dm_control import composer
    from dm_control.composer.variation import distributions
    from dm_control.locomotion.arenas.corridors import WallsCorridor
    from dm_control.locomotion.tasks.corridors import RunThroughCorridor
    from dm_control.locomotion.walkers.cmu_humanoid import CMUHumanoid

    walls = WallsCorridor(wall_gap=5.0, wall_width=distributions.Uniform(1, 3), corridor_width=6, corridor_length=40)
    walker = CMUHumanoid()
    task = RunThroughCorridor(walker, walls, contact_termination=True, physics_timestep=0.005, control_timestep=0.03)
    walker.observables.egocentric_camera.enabled = False
    return composer.Environment(task, time_limit=seconds, strip_singleton_obs_buffer_dim=True, **arguments)


@pytest.mark.parametrize("recompile", [True, False])
def test_a_composer_environment_is_seeded_too_and_ends_with_discount_0(recompile: bool) -> None:
    envs = [DmEnv(corridor(recompile_mjcf_every_episode=recompile)) for _ in range(2)]
    went, again = third_episodes(iter(envs))
    assert again == went
    assert 2 < len(went) < 100
    assert went[-1][2:] == (True, False)
    for env in envs:
        env.close()
        env.close()


def test_a_composer_environment_declares_its_seconds_in_steps() -> None:
    env = DmEnv(corridor(0.09))
    assert env.max_episode_steps == 3
    assert env.dt == 0.03
    seen = episode(env, 0, actions(env, 10))
    assert len(seen) == 4
    assert seen[-1][2:] == (False, True)


# Environments of dm_env alone


class Scripted(dm_env.Environment):
    """Ends as it is told to; its observations are its RandomState's."""

    def __init__(self, observation: Any = None, action: Any = None, last: Any = None) -> None:
        self.random_state = np.random.RandomState(0)
        self._observation = observation or OrderedDict(b=specs.Array((2, 1), np.float32), a=specs.Array((), np.int64))
        self._action = action or specs.BoundedArray((1,), np.float32, -2, [3])
        self._last = last or dm_env.termination

    def observation_spec(self) -> Any:
        return self._observation

    def action_spec(self) -> Any:
        return self._action

    def _values(self) -> Any:
        return {"a": np.int64(self.random_state.randint(100)), "b": np.array([[1], [2]], np.float32), "c": "unseen"}

    def reset(self) -> Any:
        return dm_env.restart(self._values())

    def step(self, action: np.ndarray) -> Any:
        assert action.dtype == self._action.dtype
        assert action.shape == self._action.shape
        return self._last(np.float32(0.5), self._values())


@pytest.mark.parametrize(
    ("last", "ends"),
    [
        (dm_env.termination, (True, False)),
        (dm_env.truncation, (False, True)),
        (lambda reward, values: dm_env.truncation(reward, values, discount=0.5), (False, True)),
        (dm_env.transition, (False, False)),
        (lambda reward, values: dm_env.transition(reward, values, discount=0.0), (False, False)),
    ],
)
def test_the_last_discount_tells_an_end_from_a_limit(last: Any, ends: tuple[bool, bool]) -> None:
    env = DmEnv(Scripted(last=last))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(1))
    obs, info = env.reset(seed=0)
    assert (obs.dtype, obs[:2].tolist(), info) == (np.float64, [1, 2], {})
    assert obs[2] == drawn(gymnasium.utils.seeding.np_random(0)[0]).randint(100)
    _, reward, *ended, _ = env.step(np.zeros(1))
    assert (type(reward), reward, *ended) == (float, 0.5, *ends)
    if any(ends):
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(np.zeros(1))


def test_spaces_have_the_specs_bounds_and_order() -> None:
    env = DmEnv(Scripted(), max_episode_steps=5)
    assert env.observation_order == [("b", 2), ("a", 1)]
    assert env.action_space == gymnasium.spaces.Box(np.float32([-2]), np.float32([3]))
    assert (env.metadata["render_modes"], hasattr(env, "mujoco_renderer"), hasattr(env, "dt")) == ([], False, False)
    assert declares_limit(env)
    assert not declares_limit(DmEnv(Scripted()))
    matrix = DmEnv(Scripted(action=specs.BoundedArray((2, 2), np.float64, -1, [[1, 2], [3, 4]])))
    assert matrix.action_space.high.tolist() == [1, 2, 3, 4]
    matrix.reset(seed=0)
    matrix.step(np.zeros(4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"observation": {"eye": specs.Array((8, 8, 3), np.uint8)}},
            r"observation eye is an image, uint8 of shape \(8",
        ),
        ({"observation": {"name": specs.StringArray(())}}, "observation name is object; allowed: arrays of numbers"),
        ({"observation": {"a": {"b": specs.Array((), np.float32)}}}, "observation a is dict; allowed: arrays"),
        ({"action": specs.DiscreteArray(3)}, "actions are a DiscreteArray of int32; allowed: a BoundedArray of floats"),
        ({"action": specs.BoundedArray((1,), np.int32, 0, 1)}, "actions are a BoundedArray of int32"),
        ({"action": specs.Array((1,), np.float32)}, "actions are a Array of float32"),
        ({"action": (specs.Array((1,), np.float32),)}, "actions are a tuple of parts"),
        ({"action": specs.BoundedArray((1,), np.float32, 0, np.inf)}, r"actions are unbounded \(up to inf\)"),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        DmEnv(Scripted(**arguments))
    assert "\n" not in str(caught.value)


def test_an_environment_of_its_own_way_of_seeding() -> None:
    adapted = Scripted()
    adapted.random_state, hidden = None, adapted.random_state
    with pytest.raises(ValueError, match="Scripted has no RandomState"):
        DmEnv(adapted)
    seeds: list[int] = []
    adapted.random_state = SimpleNamespace(randint=hidden.randint)
    env = DmEnv(adapted, reseed=seeds.append)
    env.reset(seed=4)
    env.reset()
    rng = gymnasium.utils.seeding.np_random(4)[0]
    assert seeds == [0, *(int(rng.integers(2**32)) for _ in range(2))]


def test_a_single_array_is_an_observation_too() -> None:
    adapted = Scripted(observation=specs.Array((2, 1), np.float32))
    adapted._values = lambda: np.array([[1], [2]])
    env = DmEnv(adapted)
    assert env.observation_order == [("observation", 2)]
    assert env.reset(seed=0)[0].tolist() == [1, 2]


# By its name


def test_a_task_is_registered_once_it_is_asked_for() -> None:
    assert dmc_id("ball_in_cup-catch") not in gymnasium.registry
    env = make_env("dmc", dmc_id("ball_in_cup-catch"), {"task_kwargs": {"time_limit": 1}})
    assert (space_dims(env), env.unwrapped.max_episode_steps) == ((8, 2), 50)
    assert env.spec.id == "dm_control/ball_in_cup-catch-v0"
    assert difference_when_repeated(env) is None
    before = dict(gymnasium.registry)
    for other in ("Hopper-v5", "dm_control/cheetah-run", dmc_id("ball_in_cup-catch")):
        register_dmc(other)
    assert gymnasium.registry == before


@pytest.mark.parametrize(
    ("task", "nearest"),
    [
        ("cheetah-rum", "cheetah-run"),
        ("cheeta-run", "cheetah-run"),
        ("humanoid_cmu-stand", "humanoid_CMU-stand"),
        ("hopper", "hopper-hop"),
        ("", None),
    ],
)
def test_an_unknown_task_is_refused_with_the_nearest(task: str, nearest: str | None) -> None:
    with pytest.raises(gymnasium.error.NameNotFound, match=rf"no task {task}; did you mean {nearest or ''}") as caught:
        make_dmc(task)
    assert "\n" not in str(caught.value)
    if task:
        with pytest.raises(gymnasium.error.NameNotFound):
            register_dmc(dmc_id(task))


def test_an_unbounded_task_is_refused() -> None:
    with pytest.raises(ValueError, match="actions are unbounded"):
        make_dmc("lqr-lqr_2_1")


MISSING = """
import sys
sys.modules["{missing}"] = None
from droq_exp.envs.make import make_env
make_env("gym", "Pendulum-v1", {{}})
try:
    make_env("dmc", "dm_control/cheetah-run-v0", {{}})
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("dm_control", "DependencyNotInstalled dm_control is not installed; pip install 'droq-exp[dmc]' installs"),
        ("dm_env", "DependencyNotInstalled dm_env is not installed; pip"),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(missing: str, said: str) -> None:
    done = forks.run([sys.executable, "-c", MISSING.format(missing=missing)], check=True)
    assert done.stdout.startswith(said)
    assert done.stdout.count("\n") == 1


ALONE = """
import logging, warnings
import mujoco
from droq_exp.envs.make import make_env, _log_mujoco_warning
before = [*logging.root.handlers], [*warnings.filters]
make_env("dmc", "dm_control/quadruped-escape-v0", {}).reset(seed=0)
assert mujoco.get_mju_user_warning() is _log_mujoco_warning
assert logging.root.handlers == before[0]
import numpy
print(hasattr(numpy, "in1d"))
"""


def test_dm_control_does_nothing_to_the_process_and_needs_no_display() -> None:
    done = forks.run([sys.executable, "-c", ALONE], check=True)
    assert done.stdout.strip() == str(hasattr(np, "in1d"))
    assert done.stderr == ""


# Pictures


DRAW = """
import numpy as np
from droq_exp.envs.make import make_env
from droq_exp.evaluation.rendering import RenderingError, use_offscreen
from droq_exp.evaluation.video import frame_rate
name = "dm_control/{task}-v0"
plain = make_env("dmc", name, {{}})
assert "rgb_array" in plain.metadata["render_modes"]
try:
    use_offscreen()
except RenderingError as error:
    print("cannot", error)
    raise SystemExit
env = make_env("dmc", name, {{"render_mode": "rgb_array", "width": 64, "height": 48}})
pictures = []
for seed in range(2):
    env.reset(seed=seed)
    pictures.append(env.render())
    env.step(env.action_space.low)
env.close()
assert not np.array_equal(*pictures)
print(pictures[0].shape, pictures[0].dtype, pictures[0].std() > 10, frame_rate(env))
"""


@pytest.mark.program
@pytest.mark.parametrize(("task", "rate"), [("cheetah-run", 100.0), ("quadruped-escape", 50.0)])
def test_a_task_is_drawn_without_a_display(task: str, rate: float) -> None:
    done = forks.run([sys.executable, "-c", DRAW.format(task=task)], check=True)
    if done.stdout.startswith("cannot"):
        pytest.skip(done.stdout)
    assert done.stdout.strip() == f"(48, 64, 3) uint8 True {rate}"


def test_cameras() -> None:
    assert make_dmc("cheetah-run").mujoco_renderer.camera_id == 0  # side, which follows
    assert make_dmc("dog-fetch").mujoco_renderer.camera_id == 2  # y-axis: its first two stand still
    assert make_dmc("cheetah-run", camera_name="back").mujoco_renderer.camera_id == 1
    assert make_dmc("cheetah-run", camera_id=-1).mujoco_renderer.camera_id == -1
    with pytest.raises(ValueError, match="unknown render mode 'ansi'; allowed: human, rgb_array"):
        make_dmc("cheetah-run", render_mode="ansi")
