"""The example of ``docs/howto/logger.md``: a logger of another package, read back by MLflow's own client."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from real_runs import LITTLE_BIAS, ROOT, rows, runs, start, status, steps, wait_for

from droq_exp.runs.status import CUT_SHORT

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds
    from mlflow.entities import Run

pytestmark = pytest.mark.program

EXAMPLE = ROOT / "examples" / "mlflow_logger"
CHOSEN = ("--config-dir", str(EXAMPLE / "conf"), "logger=mlflow")
# A store in files needs no database; MLflow wants to be asked for it.
SETTINGS = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}


def launched(directory: Path, *overrides: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers"), str(EXAMPLE)])
    command = ["env=inverted_pendulum", LITTLE_BIAS, *CHOSEN, f"logger.mlflow.tracking_uri={uri(directory)}"]
    return start(directory, *command, *overrides, PYTHONPATH=paths, **SETTINGS)


def uri(directory: Path) -> str:
    return f"file://{directory}/store"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    from mlflow import MlflowClient

    return MlflowClient(uri(tmp_path))


def stored(client: MlflowClient) -> list[Run]:
    """Those of all seeds, by name."""
    experiment = client.get_experiment_by_name("droq_exp")
    assert experiment is not None
    return sorted(client.search_runs([experiment.experiment_id]), key=lambda run: run.info.run_name)


def test_mlflow_has_what_the_csv_has_once_also_of_a_run_that_was_interrupted(
    tmp_path: Path, client: MlflowClient
) -> None:
    """Two seeds side by side; MLflow's runs go on with them."""
    command = ["seed=[0,1]", "training.total_steps=3000", "checkpoint.interval=100"]
    process = launched(tmp_path, *command)
    wait_for(lambda: len(runs(tmp_path)) == 2 and steps_so_far(runs(tmp_path)[1]) >= 200, process)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 143, error
    before = stored(client)
    assert [run.info.status for run in before] == ["KILLED", "KILLED"]

    process = launched(tmp_path, *command)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    after = stored(client)
    assert [run.info.run_id for run in after] == [run.info.run_id for run in before]
    for seed, (theirs, ours) in enumerate(zip(after, runs(tmp_path), strict=True)):
        assert (status(ours)["state"], theirs.info.status) == ("finished", "FINISHED")
        for group, name in (("eval", "return_mean"), ("train", "updates")):
            history = client.get_metric_history(theirs.info.run_id, f"{group}/{name}")
            told = [(int(row["step"]), float(row[name])) for row in rows(ours, group)]
            assert [(point.step, point.value) for point in history] == told
        assert theirs.data.params == {"seed": str(seed)}
        assert theirs.data.tags["algo"] == "droq"
        assert configuration(client, theirs, tmp_path)["logger"]["mlflow"]["experiment"] == "droq_exp"


def steps_so_far(run: Path) -> int:
    return steps(run)[-1] if (run / "eval.csv").exists() else 0


def configuration(client: MlflowClient, run: Run, directory: Path) -> dict[str, Any]:
    path = client.download_artifacts(run.info.run_id, "config.yaml", str(directory))
    return yaml.safe_load(Path(path).read_text())


def test_a_stop_is_told(tmp_path: Path, client: MlflowClient) -> None:
    process = launched(tmp_path, "callbacks=early_stop", "callbacks.early_stop.return_above=0")
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert [run.info.status for run in stored(client)] == ["FINISHED"]


@pytest.mark.parametrize("state", CUT_SHORT)
def test_a_run_that_is_cut_short_has_finished(state: str, tmp_path: Path, client: MlflowClient) -> None:
    (tmp_path / "ends.py").write_text(
        "from droq_exp.callbacks import Stop\n"
        "class Ends:\n"
        f"    def evaluated(self, step, metrics): return Stop('bad', {state!r})\n"
        "    def state(self): return {}\n"
        "    def load_state(self, state): ...\n"
    )
    process = launched(tmp_path, "callbacks.ends._target_=ends.Ends")
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert [run.info.status for run in stored(client)] == ["FINISHED"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["logger.mlflow.tracking_url=x"],
            "logger.mlflow.tracking_url: unknown key; did you mean logger.mlflow.tracking_uri?",
        ),
        (["logger.mlflow.experiment=3.5"], "logger.mlflow.experiment: 3.5 is not a text"),
    ],
)
def test_its_keys_are_checked(overrides: list[str], line: str, tmp_path: Path) -> None:
    process = launched(tmp_path, *overrides)
    _, error = process.communicate(timeout=300)
    assert (process.returncode, error.count("\n")) == (2, 1), error
    assert error.startswith(f"error: {line}")
    assert not (tmp_path / "outputs").exists()


def test_the_how_to_counts_its_files_and_lines() -> None:
    files = [EXAMPLE / "mlflow_logger.py", EXAMPLE / "conf" / "logger" / "mlflow.yaml"]
    lines = sum(len([line for line in file.read_text().splitlines() if line]) for file in files)
    assert f"2 new files, {lines} lines" in (ROOT / "docs" / "howto" / "logger.md").read_text()
