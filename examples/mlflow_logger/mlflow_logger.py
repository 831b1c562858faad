"""One MLflow run for each seed, through MLflow's own client."""

from __future__ import annotations

import time
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric

from droq_exp.loggers import RunInfo

STATUS = {"interrupted": "KILLED", "failed": "FAILED"}  # of the states that end in order: FINISHED


class MlflowLogger:
    """Metrics under their names at environment steps; group, tags and configuration with them."""

    def __init__(self, info: RunInfo, tracking_uri: str | None = None, experiment: str = "droq_exp") -> None:
        """Start an MLflow run, or go on with the one of a resumed run; without a URI, MLflow's own settings hold."""
        self._client = MlflowClient(tracking_uri)
        self._note = info.directory / "mlflow_run_id"
        self._logged = -1  # the last step that MLflow has already; it would keep the same point twice
        if info.resumed_at and self._note.exists():
            self._run_id = self._note.read_text()
            history = self._client.get_metric_history(self._run_id, "eval/return_mean")
            self._logged = max((metric.step for metric in history), default=-1)
            self._client.update_run(self._run_id, status="RUNNING")
        else:
            self._run_id = self._start(info, experiment)
            self._note.write_text(self._run_id)

    def _start(self, info: RunInfo, experiment: str) -> str:
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment)
        names = dict(zip(("experiment", "codebase", "algo", "env"), info.tags, strict=True))
        run = self._client.create_run(number, run_name=info.name, tags={**names, "group": info.group})
        self._client.log_param(run.info.run_id, "seed", info.seed)
        self._client.log_dict(run.info.run_id, info.config, "config.yaml")
        return run.info.run_id

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an environment step at once."""
        if step > self._logged:
            now = int(1000 * time.time())
            points = [Metric(name, float(value), now, step) for name, value in metrics.items()]
            self._client.log_batch(self._run_id, metrics=points)

    def close(self, state: str) -> None:
        """End the MLflow run."""
        self._client.set_terminated(self._run_id, STATUS.get(state, "FINISHED"))
