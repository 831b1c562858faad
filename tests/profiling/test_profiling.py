"""What training costs, measured on the real loop."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from real_runs import SMALL

from droq_exp.config import compose
from droq_exp.profiling.profile import Cost, measure

pytestmark = pytest.mark.program


def cost(*overrides: str, steps: int = 4) -> Cost:
    return measure(*compose([*SMALL, *overrides]), steps)


@pytest.mark.parametrize("codebase", ["redq", "ku"])
def test_parameters_by_hand(codebase: str) -> None:
    told = cost("algo=droq", "env=hopper", f"codebase={codebase}", "algo.hidden_sizes=[256,256]")
    # Hopper: 11 observations, 3 actions. Linear layers, and scale and shift of two layer norms, of two critics.
    critic = (14 * 256 + 256) + (256 * 256 + 256) + (256 + 1) + 2 * 2 * 256
    assert told.critic_parameters == 2 * critic == 141_826
    assert told.actor_parameters == (11 * 256 + 256) + (256 * 256 + 256) + (256 * 6 + 6)
    assert (told.algo, told.env, told.codebase, told.steps, told.utd_ratio) == ("droq", "hopper", codebase, 4, 2)


def test_the_parts_are_less_than_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # Many updates, so that the parts that are not timed alone (acting, the policy's update) cannot hide a confusion.
    told = cost("algo=redq", "env=inverted_pendulum", "algo.utd_ratio=20", steps=15)
    assert 0 < told.q_update_ms < told.q_updates_ms < told.loop_ms
    assert told.q_update_ms == told.q_updates_ms / 20
    assert told.first_update_seconds > 0
    assert 100 < told.peak_memory_mb < 10_000
    assert os.listdir(tmp_path) == []  # nothing is kept of the run
    assert capsys.readouterr() == ("", "")


def test_seeds_side_by_side() -> None:
    assert cost("seed=[3,4,5]", "env=inverted_pendulum").seeds == 3


def test_a_run_that_breaks_is_no_measurement() -> None:
    from real_runs import breaking

    with pytest.raises(RuntimeError, match="the run failed at step"):
        cost(*breaking(0, at=30, how="raise"))
