"""``eval.csv`` and ``train.csv``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logged import make_info, read_csv

from droq_exp.loggers.csv import CsvLogger


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
