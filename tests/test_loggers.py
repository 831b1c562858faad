"""Every logger, read back by the means of its own."""

from __future__ import annotations

import csv
import json
import logging
import math
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wandb_server import FakeServer, QuietServer, log_in

from droq_exp.config.schema import LoggerConfig, TensorBoardConfig, WandbConfig
from droq_exp.loggers import Loggers, RunInfo
from droq_exp.loggers.csv import CsvLogger
from droq_exp.loggers.tensorboard import TensorBoardLogger
from droq_exp.loggers.wandb import Mode, WandbLogger

GROUP = "runs/redq/droq/hopper"


class Messages(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def make_info(directory: Path, seed: int = 0) -> RunInfo:
    run_directory = directory / f"seed_{seed}"
    run_directory.mkdir()
    log = logging.Logger("test")
    log.addHandler(Messages())
    config = {"seed": seed, "algo": {"name": "droq", "gamma": 0.99, "hidden_sizes": [256, 256]}}
    tags = ("runs", "redq", "droq", "hopper")
    return RunInfo(run_directory, f"{GROUP}/seed_{seed}", GROUP, tags, config, seed, log)


def warnings_of(info: RunInfo) -> list[str]:
    (handler,) = info.log.handlers
    assert isinstance(handler, Messages)
    return handler.texts


# CSV


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_columns_are_fixed_and_missing_values_empty(tmp_path: Path) -> None:
    logger = CsvLogger(info := make_info(tmp_path))
    logger.log(1000, {"eval/return_mean": 1.5, "eval/wall_seconds": 3.0})
    logger.log(1000, {"train/critic_loss": 0.5, "train/updates": 20})
    assert (info.directory / "eval.csv").read_text() == (
        "step,return_mean,return_std,return_min,return_max,length_mean,bias_mean,bias_std,"
        "normalized_bias_mean,normalized_bias_std,evaluate_seconds,wall_seconds\n"
        "1000,1.5,,,,,,,,,,3.0\n"
    )
    assert (info.directory / "train.csv").read_text() == (
        "step,critic_loss,policy_loss,temperature_loss,temperature,q_mean,entropy,episodes,episode_return_mean,"
        "episode_length_mean,updates,updates_per_second,"
        "env_seconds,sample_seconds,update_seconds,wall_seconds\n"
        "1000,0.5,,,,,,,,,20,,,,,\n"
    )


def test_csv_has_a_styles_own_columns_before_the_last(tmp_path: Path) -> None:
    logger = CsvLogger(info := make_info(tmp_path))
    logger.log(1, {"eval/return_mean": 1.0})
    logger.log(2, {"eval/squared_bias_mean": 2.0, "eval/abs_bias_mean": 3.0, "eval/wall_seconds": 4.0})
    rows = read_csv(info.directory / "eval.csv")
    assert list(rows[0])[-4:] == ["evaluate_seconds", "squared_bias_mean", "abs_bias_mean", "wall_seconds"]
    assert [row["abs_bias_mean"] for row in rows] == ["", "3.0"]


def test_csv_keeps_every_digit(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1e-300, float(np.float32(0.1)), math.nan, -math.inf, 12345678901234567890.0]
    logger = CsvLogger(info := make_info(tmp_path))
    for step, value in enumerate(values):
        logger.log(step, {"train/critic_loss": value})
    read = [float(row["critic_loss"]) for row in read_csv(info.directory / "train.csv")]
    np.testing.assert_array_equal(read, values)


def test_csv_takes_numpy_numbers(tmp_path: Path) -> None:
    logger = CsvLogger(info := make_info(tmp_path))
    numbers: dict[str, Any] = {"train/episodes": np.int64(3), "train/critic_loss": np.float32(0.5)}
    logger.log(1, numbers)
    (row,) = read_csv(info.directory / "train.csv")
    assert (row["episodes"], row["critic_loss"]) == ("3", "0.5")


def test_csv_has_one_row_a_step(tmp_path: Path) -> None:
    logger = CsvLogger(info := make_info(tmp_path))
    logger.log(1, {"eval/return_mean": 1.0})
    logger.log(1, {"eval/bias_mean": 2.0})
    (row,) = read_csv(info.directory / "eval.csv")
    assert (row["return_mean"], row["bias_mean"]) == ("1.0", "2.0")


@pytest.mark.parametrize("name", ["return_mean", "test/return_mean", "eval/"])
def test_csv_refuses_names_that_no_file_is_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="metrics are named"):
        CsvLogger(make_info(tmp_path)).log(1, {name: 1.0})


# TensorBoard


def test_tensorboard_has_the_same_names_and_texts(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(info := make_info(tmp_path))
    logger.log(1000, {"eval/return_mean": 1.5, "train/critic_loss": 0.25})
    logger.log(2000, {"eval/return_mean": 2.5})
    logger.close("finished")
    events = EventAccumulator(str(info.directory / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"eval/return_mean", "train/critic_loss"}
    assert [(event.step, event.value) for event in events.Scalars("eval/return_mean")] == [(1000, 1.5), (2000, 2.5)]

    def text(name: str) -> str:
        (event,) = events.Tensors(f"{name}/text_summary")
        return event.tensor_proto.string_val[0].decode()

    assert text("group") == GROUP
    assert text("name") == info.name
    assert text("tags").split() == ["-", "runs", "-", "redq", "-", "droq", "-", "hopper"]
    assert "    algo:\n      name: droq\n" in text("config")
    assert text("state") == "finished"


# wandb


def scan_wandb(data: bytes) -> Iterator[bytes]:
    """Records of wandb's run file: LevelDB's log format behind a header of seven bytes."""
    assert data[:4] == b":W&B"
    position, record = 7, b""
    while position + 7 <= len(data):
        if (room := 32768 - position % 32768) < 7:  # a header never crosses a block; the rest of a block is padding
            position += room
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, last
            yield record
            record = b""


def read_wandb(info: RunInfo, pattern: str = "offline-run-*") -> dict[str, Any]:
    """What the only run file below the run's directory says, by wandb's own message types."""
    import wandb

    wandb.teardown()  # waits for the process that writes the file
    (path,) = info.directory.glob(f"wandb/{pattern}/run-*.wandb")
    return parse_wandb(path)


def parse_wandb(path: Path) -> dict[str, Any]:
    from wandb.proto import wandb_internal_pb2

    found: dict[str, Any] = {"history": [], "exit": None}
    for data in scan_wandb(path.read_bytes()):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run" and "run" not in found:
            found["run"] = record.run
            found["config"] = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            found["history"].append(
                {key: value for key, value in items.items() if key not in ("_runtime", "_timestamp")}
            )
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


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
            {"_step": step, "eval/return_mean": step + seed, "train/critic_loss": 0.5} for step in (1000, 2000)
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
    assert [row["_step"] for part in parts for row in part["history"]] == [1000, 2000, 3000]


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
    assert read_wandb(info)["history"] == [{"_step": 10, "eval/return_mean": 1.0}]


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
        assert read_wandb(info)["history"] == [{"_step": 10, "eval/return_mean": 1.0}]
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
    assert "going on without it" in message
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
    assert read_wandb(info, "run-*")["history"] == [{"_step": 1000, "eval/return_mean": 1.5}]


# All of them


def test_selected_loggers_all_get_the_metrics(tmp_path: Path, wandb_session: pytest.MonkeyPatch) -> None:
    loggers = Loggers(LoggerConfig(tensorboard=TensorBoardConfig(), wandb=WandbConfig()), info := make_info(tmp_path))
    loggers.log(10, {"eval/return_mean": 1.0})
    loggers.close("finished")
    assert read_csv(info.directory / "eval.csv")[0]["return_mean"] == "1.0"
    assert list((info.directory / "tensorboard").glob("events.out.tfevents.*"))
    assert read_wandb(info)["exit"] == 0


def test_one_that_fails_to_close_leaves_no_other_open(tmp_path: Path, wandb_session: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    wandb_session.setattr(TensorBoardLogger, "close", fail)
    loggers = Loggers(LoggerConfig(tensorboard=TensorBoardConfig(), wandb=WandbConfig()), info := make_info(tmp_path))
    with pytest.raises(OSError, match="disk full"):
        loggers.close("finished")
    assert read_wandb(info)["exit"] == 0
