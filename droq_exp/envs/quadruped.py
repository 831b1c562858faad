"""A four-legged robot that learns to walk, after "A Walk in the Park" (Smith, Kostrikov and Levine 2022).

The paper is arXiv:2208.07860. The robot is one of our own (``assets/quadruped.xml``), or any other of a free trunk and
twelve actuated hinges.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

OWN_MODEL = Path(__file__).parent / "assets" / "quadruped.xml"

JOINTS = 12  # hip, thigh and calf of FR, FL, RR and RL
POSE = np.tile([0.05, 0.7, -1.4], 4)  # rad, which actions move the targets away from
REACH = np.tile([0.2, 0.4, 0.4], 4)  # rad, of an action of 1
KP, KD = 60.0, 4.0  # Nm/rad and Nm s/rad, of each joint
STRENGTH = 33.5  # Nm, of a joint for which the model has no limit: a Unitree A1's

TIMESTEP, FRAME_SKIP = 0.001, 50  # s, physics steps of an action: 20 Hz
SETTLING = 2000  # physics steps until the robot stands still
LARGEST_TILT = np.deg2rad(30)  # of roll and pitch
LARGEST_SAG, LARGEST_SPEED = 0.3, 0.05  # rad from POSE and m/s or rad/s, of a robot that stands
POSITION_NOISE, VELOCITY_NOISE = 0.02, 0.1  # rad and rad/s, of each joint at reset


class Quadruped(MujocoEnv):
    """Walk forward at 0.5 to 1 m/s without turning.

    - Observation, float64 ``[46]``: positions (12, rad) and velocities (12, rad/s) of the joints, the previous action
      (12), of the trunk the quaternion (4), the angular velocity (3, rad/s) and the velocity (3, m/s), both in its own
      frame.
    - Action ``[12]`` in [-1, 1]: targets of the joints, ``POSE + REACH * action``, of a PD control at 1 kHz whose
      torques are limited.
    - Reward: ``forward_reward``, at most 10 a step; standing still earns 5.
    - An episode ends when roll or pitch exceeds 30 degrees. Registered with 400 steps.
    """

    metadata = {  # noqa: RUF012 (Gymnasium declares it as an attribute of instances)
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": round(1 / (TIMESTEP * FRAME_SKIP)),
    }

    def __init__(self, model_dir: str | None = None, **kwargs: Any) -> None:
        """Load the robot and let it settle.

        Args:
            model_dir: a folder with a robot in MJCF, such as MuJoCo Menagerie's ``unitree_a1``: ``scene.xml``, or else
                its only ``*.xml``, which gets a floor if it has none. Its actuators name the joints in our order and
                limit the torques; their own gains are replaced by ours. None: our robot.
            kwargs: of Gymnasium's MujocoEnv: ``render_mode``, ``width``, ``height``, the camera.

        Raises:
            ValueError: ``model_dir`` has no such robot; one line.
        """
        path = OWN_MODEL if model_dir is None else _model_file(Path(model_dir).expanduser())
        observations = spaces.Box(-np.inf, np.inf, (3 * JOINTS + 10,), np.float64)
        super().__init__(str(path.resolve()), FRAME_SKIP, observations, **kwargs)
        joints = self.model.actuator_trnid[:, 0]
        self._positions, self._velocities = self.model.jnt_qposadr[joints], self.model.jnt_dofadr[joints]
        self._action, self._distance = np.zeros(JOINTS), 0.0
        self.init_qpos = self._settled()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, float]]:  # type: ignore[override]
        """Move for 50 ms; ``info`` has the trunk's velocity (m/s), yaw rate (rad/s) and the length of its way (m)."""
        self._action = np.clip(np.asarray(action, dtype=np.float64), -1, 1)
        self.data.ctrl[:] = POSE + REACH * self._action
        start = self.data.qpos[:2].copy()
        mujoco.mj_step(self.model, self.data, nstep=self.frame_skip)
        self._distance += float(np.linalg.norm(self.data.qpos[:2] - start))  # along the ground; it may walk in circles
        roll, pitch = self._tilt()
        forward, yaw_rate = float(self._velocity()[0]), float(self.data.qvel[5])
        info = {"x_velocity": forward, "yaw_rate": yaw_rate, "distance": self._distance}
        fallen = max(abs(roll), abs(pitch)) > LARGEST_TILT
        if self.render_mode == "human":
            self.render()
        return self._observation(), forward_reward(forward, pitch, yaw_rate), fallen, False, info

    def reset_model(self) -> np.ndarray:
        """Stand, with a little noise in the joints; x, y and yaw are 0."""
        qpos, qvel = self.init_qpos.copy(), np.zeros(self.model.nv)
        qpos[self._positions] += self.np_random.uniform(-POSITION_NOISE, POSITION_NOISE, JOINTS)
        qvel[self._velocities] = self.np_random.uniform(-VELOCITY_NOISE, VELOCITY_NOISE, JOINTS)
        self.set_state(qpos, qvel)
        self._action, self._distance = np.zeros(JOINTS), 0.0
        return self._observation()

    def _observation(self) -> np.ndarray:
        qpos, qvel = self.data.qpos, self.data.qvel
        parts = (qpos[self._positions], qvel[self._velocities], self._action, qpos[3:7], qvel[3:6], self._velocity())
        return np.concatenate(parts)

    # From qpos and qvel: what MuJoCo derives from them (xmat, sensors) is that of one physics step before.

    def _rotation(self) -> np.ndarray:
        """From the trunk's frame to the world's, ``[3, 3]``."""
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, self.data.qpos[3:7])
        return matrix.reshape(3, 3)

    def _velocity(self) -> np.ndarray:
        """The trunk's, m/s ``[3]`` in its own frame; qvel has it in the world's, but the angular one in the trunk's."""
        return self._rotation().T @ self.data.qvel[:3]

    def _tilt(self) -> tuple[float, float]:
        """Roll and pitch in rad; positive pitch: nose down."""
        across = self._rotation()[2]  # the world's vertical in the trunk's frame
        return float(np.arctan2(across[1], across[2])), float(-np.arcsin(np.clip(across[0], -1, 1)))

    def _settled(self) -> np.ndarray:
        """The ``qpos`` in which the robot stands still in ``POSE``, at the origin and without yaw."""
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[self._positions] = POSE
        self.data.ctrl[:] = POSE
        mujoco.mj_step(self.model, self.data, nstep=SETTLING)
        qpos = self.data.qpos.copy()
        sagged, moving = np.abs(qpos[self._positions] - POSE).max(), np.abs(self.data.qvel).max()
        if max(map(abs, self._tilt())) > LARGEST_TILT or sagged > LARGEST_SAG or moving > LARGEST_SPEED:
            raise ValueError(f"model_dir: {self.fullpath} does not come to stand with {POSE[:3].tolist()} rad a leg")
        rotation = self._rotation()
        half = np.arctan2(rotation[1, 0], rotation[0, 0]) / 2
        mujoco.mju_mulQuat(qpos[3:7], np.array([np.cos(half), 0, 0, -np.sin(half)]), self.data.qpos[3:7])
        qpos[:2] = 0
        return qpos

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """As Gymnasium's, of a model that is ours to change."""
        model = _loaded(self.fullpath)
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        return model, mujoco.MjData(model)

    def _set_action_space(self) -> spaces.Box:
        self.action_space = spaces.Box(-1, 1, (JOINTS,), np.float32)
        return self.action_space


def forward_reward(forward: float, pitch: float, yaw_rate: float) -> float:
    """After the paper's, ten times: 1 at 0.5 to 1 m/s, falling to 0 at 1 m/s less or more; turning costs.

    Args:
        forward: the trunk's velocity along its own x, m/s.
        pitch: of the trunk, rad.
        yaw_rate: about the trunk's z, rad/s.
    """
    along = np.cos(pitch) * forward
    outside = max(0.5 - along, along - 1.0, 0.0)
    return float(10 * (max(1 - outside, 0.0) - 0.1 * abs(yaw_rate)))


def _model_file(directory: Path) -> Path:
    if not directory.is_dir():
        raise ValueError(f"model_dir: {directory} is not a directory")
    if (directory / "scene.xml").is_file():
        return directory / "scene.xml"
    found = sorted(directory.glob("*.xml"))
    if len(found) != 1:
        others = f"several other models: {', '.join(path.name for path in found)}" if found else "no other model"
        raise ValueError(f"model_dir: {directory} has no scene.xml and {others}")
    return found[0]


def _loaded(path: str) -> mujoco.MjModel:
    """The robot at ``path`` as position servos with our gains, at our time step."""
    try:
        spec = mujoco.MjSpec.from_file(path)
        if not spec.worldbody.geoms:  # as Menagerie's robots without their scenes
            plane = mujoco.mjtGeom.mjGEOM_PLANE
            spec.worldbody.add_geom(name="floor", type=plane, size=[0, 0, 0.1], contype=1, conaffinity=1)
        model = spec.compile()
    except ValueError as error:
        raise ValueError(f"model_dir: {path} cannot be loaded: {' '.join(str(error).split())}") from error
    problem = _unfit(model)
    if problem is not None:
        raise ValueError(f"model_dir: {path} {problem}")
    limits = _strengths(model)
    # MuJoCo's servo is the PD control: force = kp * (ctrl - q) - kd * dq, limited, at each physics step. Within the
    # model its damping is integrated implicitly, so that light links stay stable.
    model.actuator_gaintype[:] = mujoco.mjtGain.mjGAIN_FIXED
    model.actuator_biastype[:] = mujoco.mjtBias.mjBIAS_AFFINE
    model.actuator_gainprm[:] = model.actuator_biasprm[:] = 0
    model.actuator_gainprm[:, 0], model.actuator_biasprm[:, 1], model.actuator_biasprm[:, 2] = KP, -KP, -KD
    model.actuator_gear[:] = [1, 0, 0, 0, 0, 0]
    model.actuator_ctrllimited[:] = False
    model.actuator_forcelimited[:] = True
    model.actuator_forcerange[:] = np.stack([-limits, limits], axis=1)
    model.opt.timestep, model.opt.integrator = TIMESTEP, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    return model


def _unfit(model: mujoco.MjModel) -> str | None:
    """Why ``model`` is no robot for this task; None if it is one."""
    kinds = model.jnt_type.tolist()
    hinges = kinds.count(mujoco.mjtJoint.mjJNT_HINGE)
    if hinges != JOINTS or model.nu != JOINTS:
        return f"has {hinges} hinge joints and {model.nu} actuators; allowed: {JOINTS} of each"
    if kinds != [mujoco.mjtJoint.mjJNT_FREE, *[mujoco.mjtJoint.mjJNT_HINGE] * JOINTS]:
        return "has other joints than one free joint, which is its trunk's, and 12 hinges"
    moved = model.actuator_trnid[:, 0].tolist()
    by_joint = (model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT).all()
    if not by_joint or sorted(moved) != list(range(1, JOINTS + 1)):
        return "does not have one actuator for each hinge joint"
    if model.na:
        return "has actuators with a state of their own (dyntype); allowed: motors and position servos"
    return None


def _strengths(model: mujoco.MjModel) -> np.ndarray:
    """Largest torque of each actuator, Nm ``[12]``: by its force range, else by a motor's control range."""
    motor = (model.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE) & (model.actuator_ctrllimited == 1)
    by_control = np.abs(model.actuator_gainprm[:, 0] * model.actuator_ctrlrange[:, 1])
    by_force = np.abs(model.actuator_forcerange[:, 1])
    gear = np.abs(model.actuator_gear[:, 0])
    limited = np.where(model.actuator_forcelimited == 1, by_force, by_control) * gear
    return np.where((model.actuator_forcelimited == 1) | motor, limited, STRENGTH)
