"""Videos of evaluation episodes, which change nothing of a run: with them it has the same numbers as without."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium

from droq_exp.agent.agent import Agent
from droq_exp.config.errors import ConfigError
from droq_exp.config.schema import Config
from droq_exp.envs.build import build_env
from droq_exp.envs.make import close
from droq_exp.evaluation.episodes import BrokenOffError, Episode, play
from droq_exp.evaluation.rendering import RenderingError, drawing_env, following
from droq_exp.evaluation.returns import evaluation_seeds
from droq_exp.evaluation.video import GIF_FPS, Filmed, frame_rate, writing
from droq_exp.runs.directory import RunDirectory
from droq_exp.runs.videos import video_file

KEY = "eval.video_every"


def check(config: Config) -> None:
    """Draw a picture, where videos are asked for.

    Raises:
        ConfigError: that cannot be done here, or not of this task.
    """
    if config.eval.video_every:
        close(_drawing(config))


def filming(config: Config) -> Filming | None:
    """What films the runs of ``config``; None where nothing is to be filmed."""
    return Filming(config) if config.eval.video_every else None


class Filming:
    """Films the first episode of each N-th evaluation, played once more in an environment of its own."""

    def __init__(self, config: Config) -> None:
        """Nothing is made before the first video."""
        self._config = config
        self._interval = config.eval.interval * config.eval.video_every
        self._env: gymnasium.Env | None = None

    def is_due(self, step: int) -> bool:
        """Whether the evaluation at ``step`` is to be filmed."""
        return step % self._interval == 0

    def film(self, agent: Agent, seed_index: int, run: RunDirectory, step: int, break_off: Callable[[], bool]) -> None:
        """Write the video of one seed; where that fails, say so and let the training go on.

        Raises:
            BrokenOffError: ``break_off``, which is asked before each step, said so; there is no file then.
        """
        try:
            if self._env is None:
                self._env = _drawing(self._config)
            path, rate = video_file(run.directory, step), frame_rate(self._env)
            path.parent.mkdir(exist_ok=True)
            every = math.ceil(rate / GIF_FPS)  # drawing takes longer than acting
            (seed,) = evaluation_seeds(run.seed, step, 1)
            with writing(path, rate / every) as video:
                filmed = Filmed(self._env, video.add, every)
                played = play(agent, {seed_index: [Episode(filmed, seed)]}, break_off)[seed_index]
                if isinstance(played, Exception):
                    raise played
                run.check_lock()
        except BrokenOffError:
            raise
        except Exception as error:  # a renderer may raise anything, after days too
            run.log.warning("no video of step %s: %s", step, " ".join(f"{type(error).__name__}: {error}".split()))

    def close(self) -> None:
        """Close the environment."""
        if self._env is not None:
            close(self._env)


def _drawing(config: Config) -> gymnasium.Env:
    """The task, drawing."""
    given = config.env.kwargs
    has_camera = bool({"camera_id", "camera_name"} & given.keys())

    def make(**kwargs: Any) -> gymnasium.Env:
        return build_env(replace(config.env, kwargs={**given, **kwargs}))

    try:
        return drawing_env(make, config.env.id, "rgb_array", lambda model: {} if has_camera else following(model))
    except RenderingError as error:
        raise ConfigError(KEY, f"{error}; {KEY}=0 trains without videos") from error
