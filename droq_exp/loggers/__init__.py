"""Where the metrics of a run go: CSV always, TensorBoard and wandb where asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object

from droq_exp.loggers.base import Logger, RunInfo

__all__ = ["Logger", "Loggers", "RunInfo"]


class Loggers:
    """All loggers of one seed."""

    def __init__(self, config: Mapping[str, Mapping[str, Any]], info: RunInfo) -> None:
        """Build what ``config`` holds by name, each of its target; where one raises, those before it are closed."""
        self._loggers: list[Logger] = []
        try:
            for block in config.values():
                keys = {key: value for key, value in block.items() if key != "_target_"}
                self._loggers.append(get_object(block["_target_"])(info=info, **keys))
        except BaseException:
            self.close("failed")
            raise

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write metrics named "eval/return_mean" or "train/critic_loss" at an environment step."""
        for logger in self._loggers:
            logger.log(step, metrics)

    def close(self, state: str) -> None:
        """Close every logger, even where one of them raises; the run's state is as in ``Logger.close``."""
        try:
            while self._loggers:
                self._loggers.pop(0).close(state)
        finally:
            if self._loggers:
                self.close(state)
