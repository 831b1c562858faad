"""All loggers that a run has, together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from logged import make_info, read_csv, read_wandb

from droq_exp.config import compose
from droq_exp.loggers import Loggers
from droq_exp.loggers.tensorboard import TensorBoardLogger


def both() -> dict[str, dict[str, Any]]:
    config, _ = compose(["logger=[tensorboard,wandb]"])
    return config.logger


@pytest.mark.program
def test_selected_loggers_all_get_the_metrics(tmp_path: Path, wandb_session: pytest.MonkeyPatch) -> None:
    loggers = Loggers(both(), info := make_info(tmp_path))
    loggers.log(10, {"eval/return_mean": 1.0})
    loggers.close("finished")
    assert read_csv(info.directory / "eval.csv")[0]["return_mean"] == "1.0"
    assert list((info.directory / "tensorboard").glob("events.out.tfevents.*"))
    assert read_wandb(info)["exit"] == 0


def test_one_that_fails_to_close_leaves_no_other_open(tmp_path: Path, wandb_session: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    wandb_session.setattr(TensorBoardLogger, "close", fail)
    loggers = Loggers(both(), info := make_info(tmp_path))
    with pytest.raises(OSError, match="disk full"):
        loggers.close("finished")
    assert read_wandb(info)["exit"] == 0


def test_each_removes_what_an_earlier_attempt_has_left_where_the_run_starts_anew(
    tmp_path: Path, wandb_session: pytest.MonkeyPatch
) -> None:
    info = make_info(tmp_path)
    for name in ("eval.csv", "train.csv", "tensorboard/old", "wandb/old", "video/mine"):
        (info.directory / name).parent.mkdir(exist_ok=True)
        (info.directory / name).write_text("step\n")
    loggers = Loggers(both(), info)
    loggers.close("failed")
    left = {path.relative_to(info.directory).as_posix() for path in info.directory.rglob("*") if path.is_file()}
    assert {name for name in left if name.startswith(("eval", "train")) or name.endswith(("old", "mine"))} == {
        "video/mine"
    }
