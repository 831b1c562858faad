"""Where the metrics of a run go: CSV always, TensorBoard and wandb where asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hydra.utils import get_object

from droq_exp.exits import no_exit
from droq_exp.loggers.base import Logger, RunInfo

__all__ = ["Logger", "Loggers", "RunInfo"]


class Loggers:
    """All loggers of one seed."""

    @no_exit()
    def __init__(
        self, config: Mapping[str, Mapping[str, Any]], info: RunInfo, states: Mapping[str, Any] | None = None
    ) -> None:
        """Build what ``config`` holds by name, each of its target; where one raises, those before it are closed.

        ``states``: of a checkpoint, as :meth:`state` returned them.
        """
        self._loggers: dict[str, Logger] = {}
        try:
            for name, block in config.items():
                keys = {key: value for key, value in block.items() if key != "_target_"}
                its_own = replace(info, logged=(states or {}).get(name))
                self._loggers[name] = get_object(block["_target_"])(info=its_own, **keys)
        except BaseException:
            self.close("failed")
            raise

    @no_exit()
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write metrics named "eval/return_mean" or "train/critic_loss" at an environment step."""
        for logger in self._loggers.values():
            logger.log(step, dict(metrics))  # its own: what it does to them is nobody else's matter

    @no_exit()
    def log_phase(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """Write what some updates without environment steps gave, where a logger has a ``log_phase``."""
        for logger in self._loggers.values():
            if hasattr(logger, "log_phase"):
                logger.log_phase(name, step, dict(metrics))

    @no_exit()
    def state(self) -> dict[str, Any]:
        """Return by name what the loggers that have a ``state`` want checkpoints to keep."""
        asked = {name: getattr(logger, "state", None) for name, logger in self._loggers.items()}
        return {name: state() for name, state in asked.items() if callable(state)}

    @no_exit()
    def close(self, state: str) -> None:
        """Close every logger, even where one of them raises; the run's state is as in ``Logger.close``."""
        try:
            while self._loggers:
                self._loggers.pop(next(iter(self._loggers))).close(state)
        finally:
            if self._loggers:
                self.close(state)
