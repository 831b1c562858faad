"""One seed during training: its environments, its run directory, its loggers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from droq_exp.callbacks import Callbacks, Stop
from droq_exp.envs import exchange
from droq_exp.envs.make import close
from droq_exp.evaluation.episodes import SIDE_BY_SIDE
from droq_exp.learner.transitions import TransitionLayout
from droq_exp.loggers import Loggers
from droq_exp.random_streams import Stream, derived_seed
from droq_exp.runs.directory import RunDirectory


class SeedRun:
    """Steps the training environment of one seed and tells the outside how the seed is doing.

    A seed that has ended (failed, say) keeps its place among the others and does nothing more.

    An episode is made anew by re-stepping its actions from its reset, which is made anew by its seed or by the state of
    the environment's generator before it. MuJoCo's state vector alone would not do: rewards of some tasks look at
    body positions that lag behind it.
    """

    def __init__(
        self,
        run: RunDirectory,
        loggers: Loggers,
        callbacks: Callbacks,
        env: gymnasium.Env,
        make_eval_env: Callable[[], gymnasium.Env],
        layout: TransitionLayout,
    ) -> None:
        """Take loggers, callbacks, the training environment and the layout of rows; then ``begin`` or ``resume``.

        ``make_eval_env`` makes those for measurements alone, when they are first needed.
        """
        self.run = run
        self._make_eval_env = make_eval_env
        self._eval_envs: list[gymnasium.Env] = []
        self._env = env
        self._layout = layout
        self._loggers = loggers
        self._callbacks = callbacks
        self._returns: list[float] = []
        self._lengths: list[int] = []
        self._return, self._length = 0.0, 0
        self._reset_seed: int | None = None  # of this episode's reset
        self._reset_state: str | None = None  # or else the environment's generator before it, as JSON
        assert env.observation_space.shape is not None
        self._obs = np.zeros(env.observation_space.shape, dtype=np.float32)

    def begin(self) -> None:
        """Reset the training environment for the first time; where that raises, the run fails."""
        try:
            self._reset(derived_seed(self.run.seed, Stream.TRAINING_ENV))
        except Exception as error:  # the other seeds go on
            self.fail(0, error)

    def state(self) -> dict[str, Any]:
        """Return where the episode, its statistics and the callbacks are, as plain numbers, texts and lists."""
        return {
            "returns": list(self._returns),
            "lengths": list(self._lengths),
            "return": self._return,
            "length": self._length,
            "reset_seed": self._reset_seed,
            "reset_state": self._reset_state,
            "obs": self._obs.tolist(),
            "callbacks": self._callbacks.state(),
            "loggers": self._loggers.state(),
        }

    def resume(self, state: dict[str, Any], episode: np.ndarray) -> None:
        """Go on where ``state`` was taken.

        Args:
            state: of :meth:`state`.
            episode: the transitions of the episode so far, ``[n, row]``, as :meth:`step` returned them.

        Where the task does not do the same again, the run says so and begins a new episode.

        """
        self._returns, self._lengths = list(state["returns"]), list(state["lengths"])
        self._return, self._length = state["return"], state["length"]
        self._callbacks.load_state(state.get("callbacks", {}))  # older states know of none, as there were none
        problem = self._make_anew(state, episode)
        if problem is not None:
            self.run.log.warning("this task cannot be resumed exactly: %s; a new episode begins", problem)
            self._return, self._length = 0.0, 0
            self._reset(None)

    def _make_anew(self, state: dict[str, Any], episode: np.ndarray) -> str | None:
        """Reset and re-step the episode; return what went differently, or None."""
        if state["reset_seed"] is None:
            self._env.reset(seed=derived_seed(self.run.seed, Stream.TRAINING_ENV))
            if state["reset_state"] is None:
                return "its random generator is not one that can be stored"
            self._env.unwrapped.np_random.bit_generator.state = json.loads(state["reset_state"])
        self._reset(state["reset_seed"])
        columns = self._layout.columns
        for number, row in enumerate(episode, start=1):
            if not np.array_equal(self._obs, row[columns.obs], equal_nan=True):
                return f"another observation before step {number} of the episode"
            again = self._transition(row[columns.action], number)[0]
            if not np.array_equal(again, row, equal_nan=True):
                return f"another transition at step {number} of the episode"
        if not np.array_equal(self._obs, np.array(state["obs"], dtype=np.float32), equal_nan=True):
            return "another observation"
        return None

    @property
    def active(self) -> bool:
        """Whether this seed is still training."""
        return not self.run.ended

    @property
    def obs(self) -> np.ndarray:
        """The observation to act on, float32 ``[obs]``."""
        return self._obs

    def step(self, action: np.ndarray) -> np.ndarray:
        """Act, and return the transition as a row, float32 ``[row]``.

        The row's next_obs is the one that the action led to, also where the episode ends: the reset comes after it.
        """
        row, reward, ended = self._transition(action, self._length + 1)
        self._return += reward
        self._length += 1
        if ended:
            self._returns.append(self._return)
            self._lengths.append(self._length)
            self._return, self._length = 0.0, 0
            self._reset(None)
        return row

    def _transition(self, action: np.ndarray, number: int) -> tuple[np.ndarray, float, bool]:
        """Make step ``number`` of the episode: the row, the reward in full precision, whether the episode has ended."""
        obs = self._obs
        done = exchange.step(self._env, action, number)
        self._obs = done.obs
        row = self._layout.pack(
            obs, done.action, done.reward, self._obs, terminated=done.terminated, truncated=done.truncated
        )
        return row, done.reward, done.terminated or done.truncated

    def eval_envs(self, count: int) -> list[gymnasium.Env]:
        """Lend ``count`` environments to a measurement, or ``SIDE_BY_SIDE`` where that is less."""
        count = min(count, SIDE_BY_SIDE)
        while len(self._eval_envs) < count:
            self._eval_envs.append(self._make_eval_env())
        return self._eval_envs[:count]

    def take_episodes(self) -> dict[str, float]:
        """Return count and means of the training episodes that ended since the last call."""
        metrics: dict[str, float] = {"episodes": len(self._returns)}
        if self._returns:
            metrics["episode_return_mean"] = float(np.mean(self._returns))
            metrics["episode_length_mean"] = float(np.mean(self._lengths))
        self._returns, self._lengths = [], []
        return metrics

    def log(self, step: int, metrics: dict[str, float]) -> Stop | None:
        """Hand an evaluation's metrics, named ``group/name``, to every logger and callback.

        Returns:
            What a callback wants to end the seed, or None.
        """
        self.run.check_lock()
        self._loggers.log(step, metrics)
        self.run.update(step)
        return self._callbacks.evaluated(step, metrics)

    def log_phase(self, name: str, step: int, metrics: dict[str, float]) -> None:
        """Hand what some updates of a phase gave to the loggers that keep it, and note how far it is."""
        self.run.check_lock()
        self._loggers.log_phase(name, step, metrics)
        self.run.update(step)

    def finish(self, step: int) -> None:
        """End with everything done."""
        error = self._close_loggers("finished")
        if error is None:
            self.run.finish(step)
        else:
            self.run.fail(step, error)

    def stop(self, step: int, stop: Stop) -> None:
        """End because a callback asks for it."""
        error = self._close_loggers(stop.state)
        if error is None:
            self.run.stop(step, stop.reason, stop.state)
        else:
            self.run.fail(step, error)

    def interrupt(self, step: int, signal_name: str) -> None:
        """End because of a signal."""
        self._close_loggers("interrupted")
        self.run.interrupt(step, signal_name)

    def fail(self, step: int, error: str | BaseException) -> None:
        """End because of an error; the last checkpoint stays."""
        self._close_loggers("failed")
        self.run.fail(step, error)

    def close(self, state: str) -> None:
        """Close the environments, and the loggers too where the run ended without an end of its own (as ``state``)."""
        self._close_loggers(state)
        close(self._env, *self._eval_envs)

    def _reset(self, seed: int | None) -> None:
        """Begin an episode: from ``seed``, or None: wherever the environment's generator is."""
        self._reset_seed = seed
        self._reset_state = None if seed is not None else _generator_state(self._env)
        self._obs = exchange.reset(self._env, seed)

    def _close_loggers(self, state: str) -> Exception | None:
        self.run.check_lock()
        try:
            self._loggers.close(state)
        except Exception as error:
            self.run.log.exception("a logger did not close")
            return error
        return None


def _generator_state(env: gymnasium.Env) -> str | None:
    """Return the state of the environment's random generator as JSON; None where it is no Gymnasium standard one."""
    try:
        return json.dumps(env.unwrapped.np_random.bit_generator.state)
    except TypeError:
        return None
