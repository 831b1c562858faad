"""That training learns, which no comparison of numbers shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_runs import only_run, rows

from droq_exp.launch import main


@pytest.mark.slow
def test_droq_balances_the_pendulum(elsewhere: Path) -> None:
    """By a quarter of the papers' updates; no return is above 1,000, that of the first policy is about 20."""
    command = ["algo=droq", "env=inverted_pendulum", "seed=0", "algo.utd_ratio=5", "training.total_steps=6000"]
    command += ["training.start_steps=1000", "eval.interval=1000", "eval.episodes=5", "bias.enabled=false"]
    with pytest.raises(SystemExit) as leaving:
        main([*command, "hardware=cpu", "hardware.threads=1"])
    assert leaving.value.code == 0
    assert max(float(row["return_mean"]) for row in rows(only_run(), "eval")) > 900
