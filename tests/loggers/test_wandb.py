"""wandb's run files and requests: offline, online, and where it breaks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from logged import GROUP, make_info, parse_wandb, read_wandb, warnings_of
from wandb_server import FakeServer, QuietServer, log_in

from droq_exp.loggers import Logger, wandb_files
from droq_exp.loggers.csv import CsvLogger
from droq_exp.loggers.wandb import Mode, WandbLogger
from droq_exp.loggers.wandb_files import EmptyFileError

pytestmark = pytest.mark.program


def test_wandb_offline_is_one_run_per_seed(tmp_path: Path, wandb_session: pytest.MonkeyPatch) -> None:
    wandb_session.setenv("WANDB_RUN_ID", "the-same-for-all")
    infos = [make_info(tmp_path, seed) for seed in (0, 1)]
    loggers = [WandbLogger(info, project="project", entity="entity") for info in infos]  # both at once
    for step in (1000, 2000):
        for seed, logger in enumerate(loggers):
            logger.log(step, {"eval/return_mean": step + seed})
            logger.log(step, {"train/critic_loss": 0.5})
    for logger, state in zip(loggers, ("finished", "failed"), strict=True):
        logger.close(state)
    for seed, info in enumerate(infos):
        found = read_wandb(info)
        run = found["run"]
        assert (run.project, run.entity, run.run_group) == ("project", "entity", GROUP)
        assert run.display_name == f"{GROUP}/seed_{seed}"
        assert list(run.tags) == ["runs", "redq", "droq", "hopper"]
        assert found["config"]["algo"] == info.config["algo"]
        assert found["config"]["seed"] == seed
        assert found["history"] == [
            {"_step": step, "global_step": step, "eval/return_mean": step + seed, "train/critic_loss": 0.5}
            for step in (1000, 2000)
        ]
        assert found["exit"] == seed  # 0 finished, 1 failed
        assert not warnings_of(info)
    assert len({read_wandb(info)["run"].run_id for info in infos}) == 2


def test_wandb_resumed_keeps_its_id_and_leaves_out_what_it_has(
    tmp_path: Path, wandb_session: pytest.MonkeyPatch
) -> None:
    import wandb

    info = make_info(tmp_path)
    first = WandbLogger(info)
    for step in (1000, 2000):
        first.log(step, {"eval/return_mean": step})
    first.close("interrupted")
    (before,) = info.directory.glob("wandb/offline-run-*")
    while time.strftime("%Y%m%d_%H%M%S") in before.name:  # wandb names its directories by the second
        time.sleep(0.05)
    second = WandbLogger(replace(info, resumed_at=1000))
    for step in (2000, 3000):
        second.log(step, {"eval/return_mean": step})
    second.close("finished")
    wandb.teardown()
    parts = [parse_wandb(path) for path in sorted(info.directory.glob("wandb/offline-run-*/run-*.wandb"))]
    assert len({part["run"].run_id for part in parts}) == 1
    rows = [row for part in parts for row in part["history"]]
    assert [(row["_step"], row["global_step"]) for row in rows] == [(step, step) for step in (1000, 2000, 3000)]


@pytest.mark.parametrize("end", ["resumed", "closed", "damaged notes"])
def test_wandb_has_every_row_after_its_process_was_killed(
    end: str, tmp_path: Path, wandb_session: pytest.MonkeyPatch
) -> None:
    """Alone, or together with the run, as by the out-of-memory killer: what it had in memory is not in its file."""
    import wandb

    info = make_info(tmp_path)
    loggers: list[Logger] = [CsvLogger(info), WandbLogger(info)]
    rows = {step: {"eval/return_mean": step / 3, "train/updates": step} for step in range(100, 1100, 100)}

    def log(steps: Iterable[int]) -> None:
        for step in steps:
            for logger in loggers:
                logger.log(step, rows[step])

    log(range(100, 900, 100))
    _kill_wandb()
    if end == "closed":
        log(range(900, 1100, 100))
    else:
        if end == "damaged notes":
            (info.directory / "wandb" / "resume.json").write_text("{")
        info = replace(info, resumed_at=700)
        loggers = [CsvLogger(info), WandbLogger(info)]
        log(range(800, 1100, 100))
    for logger in loggers:
        logger.close("finished")
    wandb.teardown()
    logged = []
    for path in wandb_files.find(info.directory):
        with contextlib.suppress(EmptyFileError):  # of the killed process, which may have written nothing
            wandb_files.read(path)
            logged += parse_wandb(path)["history"]
    assert logged == [{"_step": step, "global_step": step, **row} for step, row in rows.items()]
    assert not any("wandb sync" in message for message in warnings_of(info))


def _kill_wandb() -> None:
    (child,) = [
        pid
        for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        if "wandb-core" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    os.kill(int(child), signal.SIGKILL)
    time.sleep(0.2)


def test_wandb_starts_whatever_the_environment_says(tmp_path: Path, wandb_session: pytest.MonkeyPatch) -> None:
    ours = {
        "TAGS": "t" * 80,
        "MODE": "sometimes",
        "PROJECT": "team/x",
        "RUN_ID": "a/b",
        "RESUME": "must",
        "DIR": "/proc",
    }
    spoilt = {"CONSOLE": "loud", "X_STATS_SAMPLING_INTERVAL": "often", "INIT_TIMEOUT": "long"}
    for name, value in (ours | spoilt).items():
        wandb_session.setenv(f"WANDB_{name}", value)
    logger = WandbLogger(info := make_info(tmp_path), project="mine")
    logger.log(10, {"eval/return_mean": 1.0})
    logger.close("finished")
    found = read_wandb(info)
    assert (found["run"].project, list(found["run"].tags)) == ("mine", ["runs", "redq", "droq", "hopper"])
    assert found["history"] == [{"_step": 10, "global_step": 10, "eval/return_mean": 1.0}]
    left_out = [message.split()[2] for message in warnings_of(info)]
    assert sorted(left_out) == sorted(f"WANDB_{name}" for name in spoilt)
    assert os.environ["WANDB_TAGS"] == ours["TAGS"]


def test_wandb_marks_an_interrupted_run(tmp_path: Path, wandb_session: pytest.MonkeyPatch) -> None:
    logger = WandbLogger(info := make_info(tmp_path))
    logger.close("interrupted")
    assert read_wandb(info)["exit"] == 130


def test_wandb_without_a_login_goes_on_offline(tmp_path: Path, wandb_session: pytest.MonkeyPatch) -> None:
    logger = WandbLogger(info := make_info(tmp_path), mode="online")
    logger.log(10, {"eval/return_mean": 1.0})
    logger.close("finished")
    (message,) = warnings_of(info)
    assert "not logged in" in message
    assert read_wandb(info)["history"] == [{"_step": 10, "global_step": 10, "eval/return_mean": 1.0}]


def test_wandb_that_nobody_answers_goes_on_offline_and_waits_once(
    tmp_path: Path, wandb_session: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(wandb_session)
    tries: list[str] = []
    attempt = WandbLogger._init

    def count(self: WandbLogger, mode: Mode) -> Any:
        tries.append(mode)
        return attempt(self, mode)

    monkeypatch.setattr(WandbLogger, "_init", count)
    for seed in (0, 1):
        logger = WandbLogger(info := make_info(tmp_path, seed), mode="online", init_timeout=1.0)
        logger.log(10, {"eval/return_mean": 1.0})
        logger.close("finished")
        (message,) = warnings_of(info)
        assert "cannot go online" in message
        assert read_wandb(info)["history"] == [{"_step": 10, "global_step": 10, "eval/return_mean": 1.0}]
        assert read_wandb(info)["exit"] == 0
        assert not list(info.directory.glob("wandb/run-*"))  # of the attempt: `wandb sync` would upload it too
    assert tries == ["online", "offline", "offline"]


def test_wandb_that_cannot_start_at_all_stops_nothing(
    tmp_path: Path, wandb_session: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def refuse(**_: Any) -> None:
        raise PermissionError("no room")

    monkeypatch.setattr(wandb, "init", refuse)
    logger = WandbLogger(info := make_info(tmp_path))
    logger.log(10, {"eval/return_mean": 1.0})
    logger.close("finished")
    (message,) = warnings_of(info)
    assert "only eval.csv and train.csv have this run's metrics" in message
    assert "no room" in message


def test_wandb_that_breaks_later_is_said_once(tmp_path: Path, wandb_session: pytest.MonkeyPatch) -> None:
    logger = WandbLogger(info := make_info(tmp_path))
    run = logger._run
    assert run is not None

    def fail(*_: Any, **__: Any) -> None:
        raise BrokenPipeError("gone")

    wandb_session.setattr(run, "log", fail)
    logger.log(10, {"eval/return_mean": 1.0})
    logger.log(20, {"eval/return_mean": 1.0})
    logger.close("finished")
    (message,) = warnings_of(info)
    assert "no more metrics" in message


def test_wandb_online_sends_every_seeds_run(
    tmp_path: Path, wandb_session: pytest.MonkeyPatch, server: QuietServer
) -> None:
    log_in(wandb_session, f"http://127.0.0.1:{server.server_port}")
    infos = [make_info(tmp_path, seed) for seed in (0, 1)]
    loggers = [WandbLogger(info, mode="online", init_timeout=20.0) for info in infos]
    for seed, logger in enumerate(loggers):
        logger.log(1000, {"eval/return_mean": 1.5 + seed})
        logger.close("finished")
    assert [warnings_of(info) for info in infos] == [[], []]
    starts = [body["variables"] for _, body in FakeServer.requests if body.get("variables", {}).get("groupName")]
    assert {start["displayName"] for start in starts} == {info.name for info in infos}
    assert {start["groupName"] for start in starts} == {GROUP}
    streams = [json.dumps(body) for path, body in FakeServer.requests if path.endswith("/file_stream")]
    for seed in (0, 1):
        assert any(f'\\"eval/return_mean\\":{1.5 + seed}' in stream for stream in streams)
    assert sum('"exitcode": 0' in stream for stream in streams) == 2
    assert server.connections > 0


def test_wandb_offline_touches_no_network(
    tmp_path: Path, wandb_session: pytest.MonkeyPatch, server: QuietServer
) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    log_in(wandb_session, url)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for spelling in (name, name.lower()):
            wandb_session.setenv(spelling, url)
    logger = WandbLogger(info := make_info(tmp_path))
    logger.log(1000, {"eval/return_mean": 1.5})
    logger.close("finished")
    assert read_wandb(info)["exit"] == 0
    assert server.connections == 0


def test_wandb_whose_server_dies_does_not_hold_up_the_end(
    tmp_path: Path, wandb_session: pytest.MonkeyPatch, server: QuietServer
) -> None:
    log_in(wandb_session, f"http://127.0.0.1:{server.server_port}")
    logger = WandbLogger(info := make_info(tmp_path), mode="online", init_timeout=3.0)
    assert not warnings_of(info)
    server.shutdown()
    server.server_close()
    logger.log(1000, {"eval/return_mean": 1.5})
    logger.close("finished")
    (message,) = warnings_of(info)
    assert "did not upload everything" in message
    assert read_wandb(info, "run-*")["history"] == [{"_step": 1000, "global_step": 1000, "eval/return_mean": 1.5}]
