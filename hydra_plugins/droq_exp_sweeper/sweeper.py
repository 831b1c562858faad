"""Hydra's basic sweep without its files: no multirun.yaml, no directory."""

# No postponed annotations: Hydra executes a plugin before it is in sys.modules, where dataclasses look them up.
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from droq_exp.config import distinct, left_to_experiment, readable
from droq_exp.launch.points import PointFailedError


@dataclass
class DroqExpSweeperConfig:
    """``hydra/sweeper=droq_exp``."""

    _target_: str = "hydra_plugins.droq_exp_sweeper.sweeper.DroqExpSweeper"
    params: dict[str, Any] | None = None  # an experiment's own sweep: key -> values, as typed after key=


class DroqExpSweeper(BasicSweeper):
    """Runs every point through the chosen launcher; a point that fails does not stop the others."""

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        """Take all points as one batch; ``params`` are swept too, where the command line does not set them."""
        super().__init__(max_batch_size=None)
        self.swept: Any = OmegaConf.to_container(OmegaConf.create(dict(params or {})))

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        """Run the points that ``arguments`` expand to, checked before by ``droq_exp.launch``.

        Raises:
            SystemExit: with code 1 when a point failed, after all have run.
        """
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = parser.parse_overrides(arguments)
        swept = parser.parse_overrides(left_to_experiment(self.swept, given))
        (points,) = self.split_arguments([*swept, *given], None)
        results = self.launcher.launch(points, initial_job_idx=0)
        failed = [point for point, result in zip(points, results, strict=True) if _failed(result)]
        for point in failed:
            print(f"failed: {distinct(point, points) or readable(point)}", file=sys.stderr)
        if failed:
            sys.exit(1)
        return results


def _failed(result: JobReturn) -> bool:
    if result.status is not JobStatus.FAILED:
        return False
    if not isinstance(result._return_value, PointFailedError):  # of which all has been told
        traceback.print_exception(result._return_value)
    return True


ConfigStore.instance().store(group="hydra/sweeper", name="droq_exp", node=DroqExpSweeperConfig, provider="droq_exp")
