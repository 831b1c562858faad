"""``droq-exp workspace``: what the layout names is logged; what is written, or sent to a stand-in for the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from real_runs import LITTLE_BIAS, train_in
from run_files import droq_exp
from wandb_server import FakeServer, QuietServer, log_in

from droq_exp.loggers import wandb_files
from droq_exp.loggers.wandb_workspace import LAYOUT, MOST_LINES, metrics

pytestmark = pytest.mark.program


@pytest.mark.parametrize("codebase", ["redq", "ku"])
def test_every_metric_of_the_layout_is_logged_by_a_real_run(codebase: str, tmp_path: Path) -> None:
    import wandb
    from wandb.proto import wandb_internal_pb2

    bias = [LITTLE_BIAS] if codebase == "redq" else []
    (run,) = train_in(tmp_path / "here", "env=inverted_pendulum", f"codebase={codebase}", "logger=wandb", *bias)
    wandb.teardown()  # waits for the process that writes the file
    logged: set[str] = set()
    for data in wandb_files.records(wandb_files.find(run)[0]):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
        record.ParseFromString(data)
        logged |= wandb_files.metrics(record).keys()
    assert metrics() <= logged


def _panels(specification: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    sections = specification["section"]["panelBankConfig"]["sections"]
    return {section["name"]: [panel["config"] for panel in section["panels"]] for section in sections}


def _check(specification: dict[str, Any]) -> None:
    panels = _panels(specification)
    assert list(panels) == ["Return", "Bias", "Losses", "Throughput"]
    for name, configs in panels.items():
        assert [(config["chartTitle"], config["xAxis"], tuple(config["metrics"])) for config in configs] == [
            (title, "_step" if x == "Step" else x, ys) for title, x, ys in LAYOUT[name]
        ]
    (runs,) = specification["section"]["runSets"]
    assert runs["grouping"] == [{"section": "run", "name": "group"}]
    assert runs["runFeed"]["columnPinned"]["config:algo.value.name"]
    assert specification["section"]["settings"]["maxRuns"] == MOST_LINES


def test_the_layout_is_written_without_a_network(
    tmp_path: Path, server: QuietServer, wandb_session: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(wandb_session, f"http://127.0.0.1:{server.server_port}")
    path = tmp_path / "view.json"
    assert droq_exp("workspace", "--project", "mine", "--json", str(path)) == 0
    content = json.loads(path.read_text())
    assert content["project"] == "mine"
    _check(content["spec"])
    assert server.connections == 0


def test_a_view_is_saved_and_its_address_told(
    server: QuietServer, wandb_session: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    log_in(wandb_session, url)
    assert droq_exp("workspace", "--project", "mine", "--entity", "someone") == 0
    assert capsys.readouterr().out.startswith(f"{url}/someone/mine?nw=")
    (saved,) = [body["variables"] for _, body in FakeServer.requests if "upsertView" in body.get("query", "")]
    assert (saved["entityName"], saved["projectName"], saved["displayName"]) == ("someone", "mine", "droq_exp")
    _check(json.loads(saved["spec"]))


def test_what_cannot_be_saved_is_told_in_one_line(
    tmp_path: Path, wandb_session: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [
        ([], "--entity is required"),
        (["--entity", "someone"], "not logged in to wandb"),
        (["--json", str(tmp_path / "no" / "file")], "--json: "),
    ]
    for arguments, words in cases:
        assert droq_exp("workspace", *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert words in error
    log_in(wandb_session)
    assert droq_exp("workspace", "--entity", "someone") == 2
    assert "does not answer" in capsys.readouterr().err
