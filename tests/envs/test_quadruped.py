"""The robot that learns to walk: what it sees, what it earns, when it falls, and that it does the same again."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forks
import gymnasium
import mujoco
import numpy as np
import pytest
from episodes import episode
from gymnasium.utils.env_checker import check_env as gymnasiums_check
from real_runs import LITTLE_BIAS, assert_same, interrupt_at, log_text, only_run, train, train_in

from droq_exp.config import ConfigError, compose
from droq_exp.envs.limits import step_limit
from droq_exp.envs.make import action_bounds, check_env, make_env, space_dims
from droq_exp.envs.quadruped import KD, KP, OWN_MODEL, POSE, REACH, forward_reward

ID = "droq_exp/Quadruped-v0"


def made(**kwargs: Any) -> gymnasium.Env:
    return make_env("quadruped", ID, kwargs)


@pytest.fixture
def env() -> Iterator[gymnasium.Env]:
    env = made()
    yield env
    env.close()


def random_actions(seed: int, count: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 12)).astype(np.float32)


def in_the_air(env: gymnasium.Env, roll: float = 0.0, pitch: float = 0.0, velocity: Any = (0, 0, 0)) -> None:
    """Put the robot where it falls freely and nothing turns it: angles in degrees, velocity in the world's frame."""
    env.reset(seed=0)
    qpos, qvel = env.unwrapped.init_qpos.copy(), np.zeros(18)
    qpos[2], qpos[7:] = 5, POSE
    mujoco.mju_euler2Quat(qpos[3:7], np.deg2rad([roll, pitch, 0]), "xyz")
    qvel[:3] = velocity
    env.unwrapped.set_state(qpos, qvel)


# Spaces and observations


def test_it_is_a_task_of_gymnasium_that_the_learner_can_use(env: gymnasium.Env) -> None:
    check_env(env)
    assert (space_dims(env), step_limit(env)) == ((46, 12), 400)
    assert env.observation_space.dtype == np.float64
    np.testing.assert_array_equal(action_bounds(env), [[-1] * 12, [1] * 12])
    assert env.unwrapped.dt == 0.05
    assert 11.5 < env.unwrapped.model.body("trunk").subtreemass[0] < 12.5


@pytest.mark.filterwarnings("ignore:.*(minimum|maximum) value is:UserWarning")
def test_gymnasiums_own_checker_finds_nothing(env: gymnasium.Env) -> None:
    gymnasiums_check(env.unwrapped, skip_render_check=True)


def test_it_is_known_before_its_module_or_mujoco_is_imported() -> None:
    code = (
        "import sys, gymnasium, droq_exp.envs\n"
        f"gymnasium.spec({ID!r})\n"
        "print('mujoco' in sys.modules, 'droq_exp.envs.quadruped' in sys.modules)\n"
        f"print(gymnasium.make({ID!r}).spec.max_episode_steps)"
    )
    done = forks.run([sys.executable, "-c", code], check=True)
    assert done.stdout.split() == ["False", "False", "400"]


def test_the_order_of_the_observation(env: gymnasium.Env) -> None:
    obs, _ = env.reset(seed=0)
    np.testing.assert_array_equal(obs[24:36], 0)
    for action in random_actions(0, 10):
        obs, *_ = env.step(action)
    model, data = env.unwrapped.model, env.unwrapped.data
    names = [f"{leg}_{joint}" for leg in ("FR", "FL", "RR", "RL") for joint in ("hip", "thigh", "calf")]
    np.testing.assert_array_equal(obs[:12], [data.joint(name).qpos[0] for name in names])
    np.testing.assert_array_equal(obs[12:24], [data.joint(name).qvel[0] for name in names])
    np.testing.assert_array_equal(obs[24:36], action)
    mujoco.mj_forward(model, data)  # velocities in the trunk's frame, as MuJoCo has them
    velocity = np.empty(6)
    mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, model.body("trunk").id, velocity, 1)
    np.testing.assert_array_equal(obs[36:40], data.body("trunk").xquat)
    np.testing.assert_allclose(obs[40:43], velocity[:3], atol=1e-12)
    np.testing.assert_allclose(obs[43:], velocity[3:], atol=1e-12)
    assert np.abs(obs[40:]).min() > 1e-4  # so that an exchange would show


def test_actions_move_the_targets_of_pd_controls_whose_torques_are_limited(env: gymnasium.Env) -> None:
    in_the_air(env)
    env.step(np.array([1, -1, 0.5] * 4, dtype=np.float32))
    data = env.unwrapped.data
    mujoco.mj_forward(env.unwrapped.model, data)
    targets = POSE + REACH * np.array([1, -1, 0.5] * 4)
    wanted = KP * (targets - data.qpos[7:]) - KD * data.qvel[6:]
    np.testing.assert_allclose(data.qfrc_actuator[6:], np.clip(wanted, -33.5, 33.5), atol=1e-9)
    data.qvel[6:] = 100
    mujoco.mj_forward(env.unwrapped.model, data)
    np.testing.assert_array_equal(data.qfrc_actuator[6:], -33.5)


# Rewards and ends


@pytest.mark.parametrize(
    ("forward", "pitch", "yaw_rate", "reward"),
    [
        (0.0, 0.0, 0.0, 5.0),
        (0.25, 0.0, 0.0, 7.5),
        (0.5, 0.0, 0.0, 10.0),
        (1.0, 0.0, 0.0, 10.0),
        (1.5, 0.0, 0.0, 5.0),
        (2.0, 0.0, 0.0, 0.0),
        (3.0, 0.0, 0.0, 0.0),
        (-0.5, 0.0, 0.0, 0.0),
        (-2.0, 0.0, 0.0, 0.0),
        (0.8, np.pi / 3, 0.0, 9.0),  # 0.4 m/s along the ground
        (0.75, 0.0, 2.0, 8.0),
        (-1.0, 0.0, -2.0, -2.0),
    ],
)
def test_the_reward_by_hand(forward: float, pitch: float, yaw_rate: float, reward: float) -> None:
    assert forward_reward(forward, pitch, yaw_rate) == pytest.approx(reward)


def test_a_step_earns_the_reward_of_where_it_ends(env: gymnasium.Env) -> None:
    env.reset(seed=0)
    place, walked = env.unwrapped.data.qpos[:2].copy(), 0.0
    assert place.tolist() == [0, 0]
    for action in random_actions(1, 20):
        obs, reward, _, _, info = env.step(action)
        w, x, y, z = obs[36:40]
        pitch = np.arcsin(2 * (w * y - z * x))
        assert (info["x_velocity"], info["yaw_rate"]) == (obs[43], obs[42])
        walked += np.linalg.norm(env.unwrapped.data.qpos[:2] - place)
        place = env.unwrapped.data.qpos[:2].copy()
        assert info["distance"] == pytest.approx(walked)
        assert reward == pytest.approx(forward_reward(obs[43], pitch, obs[42]))


def test_forward_is_where_the_trunk_points(env: gymnasium.Env) -> None:
    in_the_air(env, pitch=20, velocity=(0.6, 0, 0))
    *_, info = env.step(np.zeros(12))
    falling = env.unwrapped.data.qvel[2]
    nose_down = np.deg2rad(20)
    assert info["x_velocity"] == pytest.approx(0.6 * np.cos(nose_down) - falling * np.sin(nose_down), rel=1e-3)
    assert info["distance"] == pytest.approx(0.6 * 0.05, rel=1e-3)


@pytest.mark.parametrize("angle", ["roll", "pitch"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_it_has_fallen_beyond_30_degrees(env: gymnasium.Env, angle: str, sign: int) -> None:
    for degrees, fallen in ((29.9, False), (30.1, True)):
        in_the_air(env, **{angle: sign * degrees})
        _, _, terminated, truncated, _ = env.step(np.zeros(12))
        assert (terminated, truncated) == (fallen, False)


def test_standing_still_it_stands_for_400_steps_and_earns_5_a_step(env: gymnasium.Env) -> None:
    told = episode(env, 0, np.zeros((500, 12)))
    rewards = [step[1] for step in told[1:]]
    assert len(rewards) == 400
    assert told[-1][2:4] == (False, True)
    assert np.mean(rewards) == pytest.approx(5, abs=0.05)
    assert told[-1][4]["distance"] < 0.05


# Exact repetition


def test_an_episode_is_the_same_again_and_in_another_environment(env: gymnasium.Env) -> None:
    first = episode(env, 7, random_actions(2))
    assert episode(env, 7, random_actions(2)) == first
    assert episode(env, 8, random_actions(2)) != first
    other = made()
    assert episode(other, 7, random_actions(2)) == first
    other.close()


def test_nothing_but_the_generator_passes_from_one_episode_to_the_next(env: gymnasium.Env) -> None:
    episode(env, 3, random_actions(3, 400))  # to a fall
    episode(env, None, random_actions(4, 23))
    generator = env.unwrapped.np_random.bit_generator.state
    third = episode(env, None, random_actions(5, 400))
    fresh = made()
    fresh.reset(seed=0)
    fresh.unwrapped.np_random.bit_generator.state = generator
    assert episode(fresh, None, random_actions(5, 400)) == third
    fresh.close()


@pytest.mark.program
@pytest.mark.usefixtures("elsewhere")
def test_a_run_broken_off_in_its_third_episode_ends_like_one_in_one_go(tmp_path: Path) -> None:
    command = ("env=quadruped", "env.kwargs={max_episode_steps: 40}", LITTLE_BIAS, "checkpoint.interval=30")
    command = (*command, "training.total_steps=160")
    (whole,) = train_in(tmp_path / "whole", *command)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(97, patch)
        assert train(*command) == 143
    assert train(*command) == 0
    assert_same(only_run(), whole)
    assert "continuing from the checkpoint of step 97" in log_text(only_run())
    assert "WARNING" not in log_text(only_run())


# Other robots


OWN = OWN_MODEL.read_text()
FLOOR = re.compile(r".*<geom name=\"floor\".*\n")
LEG = re.compile(r" {6}<body name=\"(\w\w)_hip\".*?\n {6}</body>\n", re.DOTALL)
MOTOR = re.compile(r"<motor name=\"(\w+)\" joint=\"(\w+)\"/>")
SERVO = r'<position name="\1" joint="\2" kp="500" kv="3" gear="2" ctrlrange="-0.1 0.1" forcerange="-16.75 16.75"/>'
SERVOS = MOTOR.sub(SERVO, OWN).replace('timestep="0.001" integrator="implicitfast"', 'timestep="0.004"')


def folder(directory: Path, **models: str) -> str:
    """``directory`` with the models ``name="xml"``."""
    for name, text in models.items():
        (directory / f"{name}.xml").write_text(text)
    return str(directory)


def test_a_robot_of_ones_own_moves_by_our_gains_whatever_its_actuators(env: gymnasium.Env, tmp_path: Path) -> None:
    servos = made(model_dir=folder(tmp_path, scene='<mujoco><include file="a1.xml"/></mujoco>', a1=SERVOS))
    assert episode(servos, 1, random_actions(6)) == episode(env, 1, random_actions(6))
    servos.close()


def test_actuators_order_the_joints_and_a_robot_alone_gets_a_floor(env: gymnasium.Env, tmp_path: Path) -> None:
    legs = LEG.finditer(OWN)
    reversed_tree = LEG.sub("", OWN).replace("    </body>\n  </worldbody>", "{}    </body>\n  </worldbody>")
    text = FLOOR.sub("", reversed_tree.format("".join(leg[0] for leg in [*legs][::-1])))
    other = made(model_dir=folder(tmp_path, a1=text))
    model, data = other.unwrapped.model, other.unwrapped.data
    assert [model.joint(number).name for number in (1, 2, 3)] == ["RL_hip", "RL_thigh", "RL_calf"]
    other.reset(seed=0)
    for _ in range(5):
        obs, *_ = other.step(np.eye(12)[1])  # the thigh of FR
    assert obs[1] == data.joint("FR_thigh").qpos[0]
    assert np.argmax(obs[:12]) == 1
    assert len(episode(other, 0, np.zeros((400, 12)))) == 401
    other.close()


PARTS = ("hip", "thigh", "calf")
JOINTLESS = OWN.replace('<joint name="RL_calf"/>', "").replace('<motor name="RL_calf" joint="RL_calf"/>', "")
TWICE = OWN.replace('joint="RL_calf"/>', 'joint="RL_thigh"/>')
FIXED = OWN.replace('<freejoint name="root"/>', "")
FILTERED = MOTOR.sub(r'<general name="\1" joint="\2" dyntype="filter" dynprm="0.1"/>', OWN)
WEAK = OWN.replace("-33.5 33.5", "-0.5 0.5")


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ({}, "has no scene.xml and no other model"),
        ({"a": OWN, "b": OWN}, "has no scene.xml and several other models: a.xml, b.xml"),
        ({"scene": "<mujoco>\n<wrong/>\n</mujoco>"}, "scene.xml cannot be loaded: XML Error: Schema violation"),
        ({"a1": JOINTLESS}, "a1.xml has 11 hinge joints and 11 actuators; allowed: 12 of each"),
        ({"a1": TWICE}, "a1.xml does not have one actuator for each hinge joint"),
        ({"a1": FIXED}, "a1.xml has other joints than one free joint"),
        ({"a1": FILTERED}, "a1.xml has actuators with a state of their own"),
        ({"a1": WEAK}, "a1.xml does not come to stand"),
    ],
)
def test_what_is_no_robot_is_refused_in_one_line(models: dict[str, str], words: str, tmp_path: Path) -> None:
    directory = folder(tmp_path, **models)
    with pytest.raises(ValueError, match=f"^model_dir: .*{words}") as refusal:
        made(model_dir=directory)
    assert "\n" not in str(refusal.value)


def test_a_folder_that_is_not_there_is_refused_before_a_run_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Quadruped-v0 cannot be made with .*: model_dir: .*/no is not a directory"):
        compose(["env=quadruped", f"env.kwargs.model_dir={tmp_path}/no"])


# The recipe


def test_walk_in_the_park_has_the_numbers_of_the_paper() -> None:
    config, _ = compose(["experiment=walk_in_the_park"])
    assert (config.env.id, config.algo.name, config.algo.utd_ratio) == (ID, "droq", 20)
    assert (config.algo.initial_temperature, config.algo.target_entropy) == (0.1, -6)
    assert (config.training.start_steps, config.training.total_steps) == (1000, 20_000)
