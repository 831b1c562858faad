from __future__ import annotations

import sys
from pathlib import Path

import forks
import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium import spaces
from omegaconf import OmegaConf

from droq_exp.envs.make import action_bounds, check_env, make_env, space_dims

CONF = Path(__file__).parents[2] / "conf" / "env"

# The oracle of each shipped configuration: Gymnasium's v4 task, which of its observations ours are, the alive bonus
# that v4 pays on the terminating step and v5 withholds, and a place (index into qpos, value) that ends an episode.
ORACLES = {
    "hopper": ("Hopper-v4", slice(None), 1.0, (1, 0.3)),
    "walker2d": ("Walker2d-v4", slice(None), 1.0, (1, 0.5)),
    "ant": ("Ant-v4", slice(0, 27), 1.0, (2, 1.5)),  # v4 has no contact forces unless asked
    "humanoid": ("Humanoid-v4", slice(0, 45), 5.0, (2, 0.8)),  # qpos[2:] (22), qvel (23); then inertia and so on
    "halfcheetah": ("HalfCheetah-v4", slice(None), 0.0, None),  # never terminates
    "inverted_pendulum": ("InvertedPendulum-v4", slice(None), 1.0, (1, -0.5)),
}


def shipped(config: str) -> gymnasium.Env:
    values = OmegaConf.to_container(OmegaConf.load(CONF / f"{config}.yaml"))
    return make_env(values["name"], values["id"], values.get("kwargs", {}))


@pytest.fixture
def pair(request):
    """The shipped environment, and its oracle cut to the same observations."""
    v4, block, _, _ = ORACLES[request.param]
    with pytest.warns(DeprecationWarning, match="out of date"):
        oracle = gymnasium.make(v4, disable_env_checker=True)
    env = shipped(request.param)
    yield env, oracle, block
    env.close()
    oracle.close()


def mujoco_state(env: gymnasium.Env) -> np.ndarray:
    return np.concatenate([env.unwrapped.data.qpos, env.unwrapped.data.qvel])


def both_step(env, oracle, block, action):
    """Step both; whatever must be equal is asserted. Gives the end flags and v4's reward less ours."""
    obs, reward, terminated, truncated, _ = env.step(action)
    expected_obs, expected_reward, *expected_ends, _ = oracle.step(action)
    np.testing.assert_array_equal(obs, expected_obs[block])
    np.testing.assert_array_equal(mujoco_state(env), mujoco_state(oracle))
    assert [terminated, truncated] == expected_ends
    return terminated, truncated, expected_reward - reward


@pytest.mark.program
@pytest.mark.parametrize(
    ("config", "pair"), [(config, config) for config in ORACLES], indirect=["pair"], ids=list(ORACLES)
)
def test_environment_is_its_v4_oracle_step_by_step(config, pair):
    env, oracle, block = pair
    bonus = ORACLES[config][2]
    rng = np.random.default_rng(0)
    low, high = action_bounds(env)
    endings = {"terminated": 0, "truncated": 0}
    ended, seed = True, 0
    for _ in range(3000 if config == "halfcheetah" else 1500):  # past a time limit, or two where nothing falls
        if ended:
            obs, _ = env.reset(seed=seed)
            expected, _ = oracle.reset(seed=seed)
            np.testing.assert_array_equal(obs, expected[block])
            seed += 1
        action = rng.uniform(low, high).astype(np.float32)
        terminated, truncated, difference = both_step(env, oracle, block, action)
        if terminated:
            assert difference == pytest.approx(bonus, abs=1e-12)  # the subtraction rounds
        else:
            assert difference == 0
        endings["terminated"] += terminated
        endings["truncated"] += truncated
        ended = terminated or truncated
    assert endings["terminated"] > 0 or config in ("ant", "halfcheetah")
    assert endings["truncated"] > 0 or config != "halfcheetah"
    assert seed > 1  # at least one reset after an episode's end


@pytest.mark.parametrize(
    ("config", "pair"),
    [(config, config) for config, oracle in ORACLES.items() if oracle[3]],
    indirect=["pair"],
    ids=[config for config, oracle in ORACLES.items() if oracle[3]],
)
def test_v5_withholds_the_alive_bonus_on_the_terminating_step_only(config, pair):
    env, oracle, block = pair
    _, _, bonus, (coordinate, unhealthy) = ORACLES[config]
    zero = np.zeros(env.action_space.shape, dtype=np.float32)
    for each in (env, oracle):
        each.reset(seed=1)
    assert both_step(env, oracle, block, zero) == (False, False, 0)
    for each in (env, oracle):
        qpos, qvel = each.unwrapped.data.qpos.copy(), each.unwrapped.data.qvel.copy()
        qpos[coordinate] = unhealthy
        each.unwrapped.set_state(qpos, qvel)
    terminated, truncated, difference = both_step(env, oracle, block, zero)
    assert terminated
    assert not truncated
    assert difference == pytest.approx(bonus, abs=1e-12)


@pytest.mark.parametrize(
    ("config", "dims", "limit"),
    [
        ("hopper", (11, 3), 1.0),
        ("walker2d", (17, 6), 1.0),
        ("ant", (27, 8), 1.0),
        ("humanoid", (45, 17), 0.4),
        ("humanoid_full", (348, 17), 0.4),
        ("halfcheetah", (17, 6), 1.0),
        ("inverted_pendulum", (4, 1), 3.0),
    ],
)
def test_sizes_and_bounds_of_the_shipped_tasks(config, dims, limit):
    env = shipped(config)
    check_env(env)
    assert space_dims(env) == dims
    low, high = action_bounds(env)
    np.testing.assert_array_equal(low, np.full(dims[1], -limit, dtype=np.float32))
    np.testing.assert_array_equal(high, np.full(dims[1], limit, dtype=np.float32))
    assert env.reset(seed=0)[0].shape == (dims[0],)
    env.close()


def test_walker2d_feet_have_the_papers_friction():
    friction = {}
    for name, env in (("ours", shipped("walker2d")), ("v5's own", make_env("w", "Walker2d-v5", {}))):
        model = env.unwrapped.model
        friction[name] = [model.geom(geom).friction[0] for geom in ("foot_geom", "foot_left_geom")]
        env.close()
    assert friction == {"ours": [0.9, 1.9], "v5's own": [1.9, 1.9]}


def test_hydra_containers_are_accepted_as_keywords():
    kwargs = OmegaConf.create({"healthy_z_range": [0.9, 2.0], "max_episode_steps": 7})
    env = make_env("walker", "Walker2d-v5", kwargs)
    assert env.unwrapped._healthy_z_range == [0.9, 2.0]
    assert type(env.unwrapped._healthy_z_range) is list
    assert env.spec.max_episode_steps == 7
    env.close()


class Spaces(gymnasium.Env):
    """An environment that is nothing but its spaces."""

    def __init__(self, observation: spaces.Space, action: spaces.Space):
        self.observation_space = observation
        self.action_space = action


VECTOR = spaces.Box(-np.inf, np.inf, (3,))
BOUNDED = spaces.Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (VECTOR, spaces.Discrete(2), "Spaces has Discrete actions; allowed: .*continuous"),
        (VECTOR, spaces.MultiBinary(2), "MultiBinary actions"),
        (VECTOR, spaces.Box(0, 5, (2,), np.int32), "int32.* actions; allowed: .*continuous"),
        (VECTOR, spaces.Box(-1, 1, (2, 2)), r"actions of shape \(2, 2\); allowed: .*vector"),
        (VECTOR, spaces.Box(-1, np.inf, (2,)), "unbounded or empty action box; allowed: .*finite"),
        (VECTOR, spaces.Box(-np.inf, np.inf, (2,)), "unbounded or empty action box"),
        (VECTOR, spaces.Box(1, 1, (2,)), "unbounded or empty action box"),
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), BOUNDED, r"Box\(8, 8, 3\) \(uint8\) observations; allowed: .*vector"),
        (spaces.Box(-1, 1, ()), BOUNDED, r"observations; allowed: .*vector"),
        (spaces.Discrete(5), BOUNDED, "Discrete observations"),
        (spaces.Dict({"a": VECTOR}), BOUNDED, "Dict observations"),
    ],
)
def test_unfit_spaces_are_refused_in_one_line(observation, action, message):
    for check in (check_env, space_dims, action_bounds):
        with pytest.raises(ValueError, match=message) as caught:
            check(Spaces(observation, action))
        assert "\n" not in str(caught.value)


def test_the_task_is_named_when_refused():
    with pytest.raises(ValueError, match=r"^CartPole-v1 has Discrete actions"):
        check_env(make_env("gym", "CartPole-v1", {}))


UNSTABLE = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
from droq_exp.envs.make import make_env
env = make_env("halfcheetah", "HalfCheetah-v5", {})
env.reset(seed=0)
env.unwrapped.data.qvel[:] = 1e12
env.step(env.action_space.sample())
"""


def test_mujoco_warnings_go_to_the_log_and_no_file(tmp_path):
    # A fresh process: MuJoCo has one handler per process, and prints to stderr and writes the file without one.
    done = forks.run([sys.executable, "-c", UNSTABLE], cwd=tmp_path, check=True)
    assert "WARNING droq_exp.envs.make MuJoCo: Nan, Inf or huge value in QVEL" in done.stdout
    assert "WARNING: " not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_another_mujoco_handler_stays(caplog):
    ours, seen = mujoco.get_mju_user_warning(), []
    mujoco.set_mju_user_warning(seen.append)
    try:
        env = make_env("halfcheetah", "HalfCheetah-v5", {})
        env.reset(seed=0)
        env.unwrapped.data.qvel[:] = 1e12
        env.step(env.action_space.sample())
    finally:
        mujoco.set_mju_user_warning(ours)
    assert len(seen) == 1
    assert "QVEL" in seen[0]
    assert caplog.records == []


def test_a_task_without_mujoco_is_made_where_mujoco_is_missing():
    code = (
        "import sys; sys.modules['mujoco'] = None\n"
        "from droq_exp.envs.make import make_env, space_dims\n"
        "print(space_dims(make_env('gym', 'Pendulum-v1', {})))"
    )
    done = forks.run([sys.executable, "-c", code], check=True)
    assert done.stdout.strip() == "(3, 1)"
