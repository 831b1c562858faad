"""Runs a sweep's points where ``hardware`` says: here, one after the other, or as jobs."""

# No postponed annotations: Hydra executes a plugin before it is in sys.modules, where dataclasses look them up.
from collections.abc import Sequence
from dataclasses import dataclass

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
        """Run the points; the results are exit codes.

        Raises:
            SystemExit: 1 where nothing can be submitted, 130 on Ctrl-C, after which jobs go on.
        """
        from droq_exp.config import compose

        assert self.config is not None
        search = [line for line in self.config.hydra.overrides.hydra if line.startswith("hydra.searchpath")]
        points = [[*search, *point] for point in job_overrides]
        config, _ = compose(points[0])
        if config.hardware.launcher == "here":
            return super().launch(job_overrides, initial_job_idx)
        from droq_exp.jobs.launch import launch

        return [
            JobReturn(overrides=point, _return_value=code, status=JobStatus.COMPLETED)
            for point, code in zip(job_overrides, launch(points), strict=True)
        ]


ConfigStore.instance().store(group="hydra/launcher", name="droq_exp", node=DroqExpLauncherConfig, provider="droq_exp")
