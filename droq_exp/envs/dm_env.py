"""Any dm_env environment (dm_control's suite, composer tasks such as RoboPianist's) as a Gymnasium task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import dm_env
import gymnasium
import numpy as np
from dm_env import specs
from gymnasium import spaces
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

# MuJoCo's mjMAXVAL: dm_control gives an actuator without a range this one.
UNLIMITED = 1e10
# What no reset writes, and nearly all of a model's memory: 12 MB of most models' 12, 90 of the dog's.
ASSETS = ("tex_", "mesh_", "skin_", "bvh_", "oct_", "text_", "name")
MOVING = (1, 2)  # mjCAMLIGHT_TRACK and mjCAMLIGHT_TRACKCOM: the camera moves along with a body


class DmEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A ``dm_env.Environment`` with vectors of observations and actions.

    Observations, float64 ``[obs]``, are the arrays of the observation spec one after another: in the spec's order, each
    in C order, a scalar as one number. ``observation_order`` has the (key, length) of each. Actions, ``[act]``, are in
    the spec's own bounds and type. An episode is terminated where its last discount is 0, and truncated where it ends
    with any other. ``max_episode_steps`` is the number of steps that the environment declares, or None.

    Every reset seeds the environment's own ``RandomState`` with a draw from ``np_random``. An episode can be made anew
    from the state of ``np_random`` before its reset, since nothing else outlives an episode:

    - MuJoCo's data, the solver's warm start included, are reset by dm_control.
    - MuJoCo's model, into which some tasks write targets, terrain or gains, is put back before each reset, all of it
      but ``ASSETS``. A task may scale what it finds, and the first forward dynamics of a reset see what was left.
    - What a task keeps in Python stays; no task of the suite keeps anything that its next episode sees.
    """

    metadata = {"render_modes": ["human", "rgb_array"]}  # noqa: RUF012  (Gymnasium's own attribute)

    def __init__(
        self,
        env: dm_env.Environment,
        *,
        reseed: Callable[[int], object] | None = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        camera_id: int | None = None,
        camera_name: str | None = None,
    ) -> None:
        """Take a new environment; it is reset once, from seed 0.

        Args:
            env: one that nothing else steps. A composer environment that compiles its model once does it here.
            reseed: called before each reset with a seed in [0, 2**32); None: ``seed`` of the RandomState that is
                ``env.random_state`` (composer) or ``env.task.random`` (the suite). It is seeded and not replaced,
                since parts of a task may hold it.
            max_episode_steps: declared where the environment's own limit cannot be found; it ends no episode.
            render_mode: as Gymnasium's, for environments with MuJoCo physics.
            width: of pictures, in pixels.
            height: likewise.
            camera_id: number of one of the model's cameras, -1 for the free one; None: the first that moves along.
            camera_name: or its name.

        Raises:
            ValueError: images or other observations that are no numbers; actions that are discrete or unbounded; no
                RandomState; an unknown render mode. One line.
        """
        self.adapted = env
        self._reseed = reseed or _seeding(env)
        self._action = _action_spec(env.action_spec())
        self.action_space = spaces.Box(
            np.broadcast_to(self._action.minimum, self._action.shape).ravel(),
            np.broadcast_to(self._action.maximum, self._action.shape).ravel(),
            dtype=self._action.dtype.type,
        )
        spec = env.observation_spec()
        self._keyed = isinstance(spec, Mapping)
        self.observation_order = [*_lengths(spec if self._keyed else {"observation": spec})]
        self._parts = [key for key, _ in self.observation_order]
        size = sum(length for _, length in self.observation_order)
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), dtype=np.float64)
        self.max_episode_steps = max_episode_steps or _declared_steps(env)
        if not self._simulated:
            self.metadata = {"render_modes": []}
        modes = self.metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise ValueError(f"unknown render mode {render_mode!r}; allowed: {', '.join(modes) or 'none'}")
        self.render_mode = render_mode
        self._picture: dict[str, Any] = {
            "width": width,
            "height": height,
            "camera_id": camera_id,
            "camera_name": camera_name,
        }
        self._running = self._closed = False
        self._pristine = _Model(self.model) if self._simulated else None
        # A composer environment may compile once, in its first reset: from this seed, whatever an episode's is.
        self._reseed(0)
        env.reset()
        if self._pristine is not None and not self._pristine.is_of(self.model):
            self._pristine = _Model(self.model)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode; the observation, float64 ``[obs]``, and {}."""
        super().reset(seed=seed)
        self._reseed(int(self.np_random.integers(2**32)))
        if self._pristine is not None and self._pristine.is_of(self.model):  # else each reset compiles another
            self._pristine.put_back()
        first = self.adapted.reset()
        if "mujoco_renderer" in vars(self) and (self.model is not self.mujoco_renderer.model or self.model.nhfield):
            self.mujoco_renderer.close()  # it has another model, or a copy of terrain that may be another now
            del self.mujoco_renderer
        self._running = True
        if self.render_mode == "human":
            self.render()
        return self._vector(first.observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Act, ``[act]``.

        Raises:
            ResetNeeded: the episode has ended, or none has begun.
        """
        if not self._running:
            raise gymnasium.error.ResetNeeded("step was called before reset or after the end of an episode")
        done = self.adapted.step(np.array(action, dtype=self._action.dtype).reshape(self._action.shape))
        last = bool(done.last())
        terminated = last and done.discount == 0
        self._running = not last
        if self.render_mode == "human":
            self.render()
        return self._vector(done.observation), float(done.reward), terminated, last and not terminated, {}

    def render(self) -> Any:
        """The picture, uint8 ``[height, width, 3]``, or None and a window, as ``render_mode`` says."""
        if self.render_mode is None:
            return None
        return self.mujoco_renderer.render(self.render_mode)

    def close(self) -> None:
        """Close renderer and environment; once."""
        if self._closed:
            return
        self._closed = True
        if "mujoco_renderer" in vars(self):
            self.mujoco_renderer.close()
        self.adapted.close()

    @property
    def dt(self) -> float:
        """Seconds of a step; AttributeError where the environment does not tell."""
        return float(self.adapted.control_timestep())

    @property
    def model(self) -> Any:
        """The ``mujoco.MjModel``; AttributeError where there is no MuJoCo."""
        return self.adapted.physics.model.ptr

    @cached_property
    def mujoco_renderer(self) -> MujocoRenderer:
        """Gymnasium's renderer of this model; nothing is opened before its first picture.

        dm_control's own takes what ``MUJOCO_GL`` says when dm_control is imported, which may be long before anybody
        knows that, and what, is to be drawn.
        """
        model, picture = self.model, dict(self._picture)
        for side, size in (("offwidth", picture["width"]), ("offheight", picture["height"])):
            setattr(model.vis.global_, side, max(size, getattr(model.vis.global_, side)))
        if picture["camera_id"] is None and picture["camera_name"] is None:
            moving = [number for number in range(model.ncam) if model.cam_mode[number] in MOVING]
            picture["camera_id"] = next(iter(moving), 0 if model.ncam else -1)
        return MujocoRenderer(model, self.adapted.physics.data.ptr, max_geom=max(1000, 2 * model.ngeom), **picture)

    @property
    def _simulated(self) -> bool:
        return hasattr(self, "model")

    def _vector(self, observation: Any) -> np.ndarray:
        values = observation if self._keyed else {"observation": observation}
        return np.concatenate([np.ravel(values[key]) for key in self._parts], dtype=np.float64)


class _Model:
    """What a ``mujoco.MjModel`` was, apart from its assets."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._arrays: list[tuple[np.ndarray, np.ndarray]] = []  # the model's own, and a copy
        self._numbers: list[tuple[Any, str, float]] = []
        for part in (model, model.opt, model.stat):
            for name in dir(part):
                if name.startswith(("_", *ASSETS)):
                    continue
                value = getattr(part, name)
                if isinstance(value, np.ndarray) and value.flags.writeable:
                    self._arrays.append((value, value.copy()))
                elif isinstance(value, int | float) and part is not model:  # the model's own numbers are its sizes
                    self._numbers.append((part, name, value))

    def is_of(self, model: Any) -> bool:
        return self._model is model

    def put_back(self) -> None:
        for array, copy in self._arrays:
            array[...] = copy
        for part, name, value in self._numbers:
            setattr(part, name, value)


def _seeding(env: dm_env.Environment) -> Callable[[int], object]:
    for state in (getattr(env, "random_state", None), getattr(getattr(env, "task", None), "random", None)):
        if isinstance(state, np.random.RandomState):
            return state.seed
    raise ValueError(f"{type(env).__name__} has no RandomState as random_state or task.random; reseed=... seeds it")


def _action_spec(spec: Any) -> specs.BoundedArray:
    if not isinstance(spec, specs.BoundedArray) or not np.issubdtype(spec.dtype, np.floating):
        kind = f"{type(spec).__name__} of {getattr(spec, 'dtype', 'parts')}"
        raise ValueError(f"actions are a {kind}; allowed: a BoundedArray of floats")
    bounds = np.abs(np.concatenate([np.ravel(spec.minimum), np.ravel(spec.maximum)]))
    if not (bounds < UNLIMITED).all():
        raise ValueError(f"actions are unbounded (up to {bounds.max():g}); allowed: finite bounds")
    return spec


def _lengths(observation: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for key, spec in observation.items():
        if not isinstance(spec, specs.Array) or spec.dtype.kind not in "biuf":
            kind = getattr(spec, "dtype", type(spec).__name__)
            raise ValueError(f"observation {key} is {kind}; allowed: arrays of numbers")
        if spec.dtype == np.uint8 and len(spec.shape) >= 3:
            raise ValueError(f"observation {key} is an image, uint8 of shape {spec.shape}; allowed: numbers of a state")
        yield key, math.prod(spec.shape)


def _declared_steps(env: dm_env.Environment) -> int | None:
    """The suite's limit in steps, or composer's in seconds; neither has a public name."""
    steps = getattr(env, "_step_limit", None)
    if steps is None and getattr(env, "_time_limit", None) is not None:
        # It may take one step more, as MuJoCo's clock is a sum: 600 times 0.005 s are 2.9999999999999583 s.
        steps = round(env._time_limit / env.control_timestep(), 6) if env._time_limit < math.inf else math.inf
    return math.ceil(steps) if steps is not None and 0 < steps < math.inf else None
