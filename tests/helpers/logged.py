"""What loggers are given, and what they have written, read back by the means of each."""

from __future__ import annotations

import csv
import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from droq_exp.loggers import RunInfo

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


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


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
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found["history"].append(
                {key: value for key, value in items.items() if key not in ("_runtime", "_timestamp")}
            )
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found
