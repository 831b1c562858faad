"""One seed of a pack during training: its environments, its run directory, its loggers."""

from __future__ import annotations

import gymnasium
import numpy as np

from droq_exp.loggers import Loggers
from droq_exp.random_streams import Stream, derived_seed
from droq_exp.run import Run


class Member:
    """Steps the training environment of one seed and tells the outside how the seed is doing.

    A member that has ended (failed, say) keeps its place in the pack and does nothing more.
    """

    def __init__(self, run: Run, loggers: Loggers, env: gymnasium.Env, eval_env: gymnasium.Env) -> None:
        """Reset the training environment (where that raises, the run fails); ``eval_env`` is for measurements alone."""
        self.run = run
        self.eval_env = eval_env
        self._env = env
        self._loggers = loggers
        self._returns: list[float] = []
        self._lengths: list[int] = []
        self._return, self._length = 0.0, 0
        assert env.observation_space.shape is not None
        self._obs = np.zeros(env.observation_space.shape, dtype=np.float32)
        try:
            obs, _ = env.reset(seed=derived_seed(run.seed, Stream.TRAINING_ENV))
            self._keep(obs)
        except Exception as error:  # the other seeds go on
            self.fail(0, error)

    @property
    def active(self) -> bool:
        """Whether this seed is still training."""
        return not self.run.ended

    @property
    def obs(self) -> np.ndarray:
        """The observation to act on, float32 ``[obs]``."""
        return self._obs

    def step(self, action: np.ndarray) -> np.ndarray:
        """Act, and return the transition as a row (obs, action, reward, next_obs, terminated), float32.

        The row's next_obs is the one that the action led to, also where the episode ends: the reset comes after it.
        """
        obs = self._obs
        next_obs, reward, terminated, truncated, _ = self._env.step(action)
        row = np.concatenate([obs, action, [float(reward)], next_obs, [float(terminated)]]).astype(np.float32)
        self._return += float(reward)
        self._length += 1
        if terminated or truncated:
            self._returns.append(self._return)
            self._lengths.append(self._length)
            self._return, self._length = 0.0, 0
            next_obs, _ = self._env.reset()
        self._keep(next_obs)
        return row

    def take_episodes(self) -> dict[str, float]:
        """Return count and means of the training episodes that ended since the last call."""
        metrics: dict[str, float] = {"episodes": len(self._returns)}
        if self._returns:
            metrics["episode_return_mean"] = float(np.mean(self._returns))
            metrics["episode_length_mean"] = float(np.mean(self._lengths))
        self._returns, self._lengths = [], []
        return metrics

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Hand metrics named ``group/name`` to every logger."""
        self._loggers.log(step, metrics)

    def finish(self, step: int) -> None:
        """End with everything done."""
        error = self._close_loggers("finished")
        if error is None:
            self.run.finish(step)
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
        self._env.close()
        self.eval_env.close()

    def _keep(self, obs: np.ndarray) -> None:
        # A copy: some tasks hand out the same array at every step.
        self._obs = np.array(obs, dtype=np.float32)

    def _close_loggers(self, state: str) -> Exception | None:
        try:
            self._loggers.close(state)
        except Exception as error:
            self.run.log.exception("a logger did not close")
            return error
        return None
