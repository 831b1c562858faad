"""Runs a sweep's points where ``hardware`` says: here, one after the other, or as jobs."""

# No postponed annotations: Hydra executes a plugin before it is in sys.modules, where dataclasses look them up.
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus


@dataclass
class DroqExpLauncherConfig:
    """``hydra/launcher=droq_exp``."""

    _target_: str = "hydra_plugins.droq_exp_launcher.launcher.DroqExpLauncher"


class DroqExpLauncher(BasicLauncher):
    """Hydra's own launcher, but for ``hardware`` on which training is a job."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the points; the results are their scores, PointFailedError for one that failed.

        With ``hardware.wait=false`` there is no score yet: None.

        Raises:
            SystemExit: 1 where nothing can be submitted, 2 where a point is none that a run can be, 130 on Ctrl-C,
                after which jobs go on.
        """
        from droq_exp.config import ConfigError, search_lines
        from droq_exp.config.schema import JobsHardwareConfig
        from droq_exp.launch.arguments import refuse
        from droq_exp.launch.checks import check_directories, check_sweep
        from droq_exp.launch.points import PointFailedError, composed_point, is_known, point_score

        assert self.config is not None
        search = search_lines(self.config.hydra.overrides.hydra)
        points = [[*search, *point] for point in job_overrides]
        invented = not all(map(is_known, points))
        try:
            composed = [composed_point(point) for point in points]
            if invented:  # by a sweeper: what a typed sweep is refused for before it starts
                check_sweep([config for config, _ in composed], self.config.hydra.overrides.hydra)
                check_directories([point for point in composed if point[0].hardware.launcher == "here"])
        except ConfigError as error:
            refuse(str(error))
        config, _ = composed[0]
        if config.hardware.launcher == "here":
            return super().launch(job_overrides, initial_job_idx)
        from droq_exp.jobs.launch import launch

        results = []
        for point, run, code in zip(job_overrides, composed, launch(points, composed), strict=True):
            worth: Any = PointFailedError(" ".join(point)) if code else None
            if not code and isinstance(config.hardware, JobsHardwareConfig) and config.hardware.wait:
                try:
                    worth = point_score(*run)
                except PointFailedError as error:
                    worth = error
            status = JobStatus.FAILED if isinstance(worth, PointFailedError) else JobStatus.COMPLETED
            results.append(JobReturn(overrides=point, _return_value=worth, status=status))
        return results


ConfigStore.instance().store(group="hydra/launcher", name="droq_exp", node=DroqExpLauncherConfig, provider="droq_exp")
