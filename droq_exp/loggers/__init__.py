"""Where the metrics of a run go: CSV always, TensorBoard and wandb where asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

from hydra.utils import instantiate

from droq_exp.config.schema import LoggerConfig
from droq_exp.loggers.base import Logger, RunInfo

__all__ = ["Logger", "Loggers", "RunInfo"]


class Loggers:
    """All loggers of one seed."""

    def __init__(self, config: LoggerConfig, info: RunInfo) -> None:
        """Build those that ``config`` selects; where one raises, the ones before it are closed."""
        self._loggers: list[Logger] = []
        try:
            for block in (getattr(config, field.name) for field in fields(config)):
                if block is not None:
                    # In two steps: instantiate() would turn the dataclass ``info`` into a configuration node.
                    self._loggers.append(instantiate(asdict(block), _partial_=True, _recursive_=False)(info=info))
        except BaseException:
            self.close("failed")
            raise

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write metrics named "eval/return_mean" or "train/critic_loss" at an environment step."""
        for logger in self._loggers:
            logger.log(step, metrics)

    def close(self, state: str) -> None:
        """Close every logger, even where one of them raises; the run's state is finished, interrupted or failed."""
        try:
            while self._loggers:
                self._loggers.pop(0).close(state)
        finally:
            if self._loggers:
                self.close(state)
