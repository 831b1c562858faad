"""Phases in which critics learn without environment steps: when they come, what breaks them off, how they go on."""

from __future__ import annotations

import io
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from real_runs import (
    LITTLE_BIAS,
    assert_same,
    log_text,
    only_run,
    rows,
    runs,
    status,
    steps,
    train,
    train_in,
    untimed,
    weights,
)

from droq_exp.agent.agent import Agent
from droq_exp.evaluation.load import load
from droq_exp.training import loop, phases
from droq_exp.training.phases import LARGEST_CHUNK, Phase, Phases, chunk_of

pytestmark = pytest.mark.program

# Updates begin at step 51: phases at 60 and 90, of three chunks.
SPEQ = ("env=hopper", "algo=droq", "algo.utd_ratio=1", LITTLE_BIAS, "checkpoint.interval=30")
SPEQ = (*SPEQ, "training.offline_every=30", "training.offline_updates=60")


@pytest.fixture(autouse=True)
def directory(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (phases, loop):
        monkeypatch.setattr(module, "LOG_EVERY", 20)
    return elsewhere


def at_chunk(number: int, do: Callable[[], object]) -> Callable[[pytest.MonkeyPatch], list[int]]:
    """Do something during the chunk of that number (from 1); what is returned says how many chunks there were."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> list[int]:
        update, made = Agent.run_phase, [0]

        def patched(self: Agent, *given: object) -> None:
            made[0] += 1
            if made[0] == number:
                do()
            update(self, *given)

        monkeypatch.setattr(Agent, "run_phase", patched)
        return made

    return patch


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def broken_off(chunk: int, *command: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        made = at_chunk(chunk, terminate)(patch)
        assert train(*command) == 143
        assert made == [chunk]  # nothing waits for the end of the phase


def assert_same_phases(one: Path, other: Path) -> None:
    assert_same(one, other)
    assert untimed(one, "offline") == untimed(other, "offline")
    assert "WARNING" not in log_text(one)


@pytest.mark.parametrize(("updates", "seeds"), [("native", "[3,1]"), ("eager", "3")])
def test_broken_off_in_phases_it_ends_like_a_run_in_one_go(updates: str, seeds: str, tmp_path: Path) -> None:
    command = (*SPEQ, f"seed={seeds}", f"hardware.updates={updates}", "training.total_steps=90")
    whole = train_in(tmp_path / "whole", *command)
    broken_off(2, *command)
    assert status(runs()[0])["phases"]["offline"]["updates"] == 40
    assert status(runs()[0])["phases"]["offline"]["of"] == 120
    assert status(runs()[0])["step"] == 60
    broken_off(1, *command)  # the last chunk of the first phase
    broken_off(1, *command)  # the first of the second, at the last step
    assert status(runs()[0])["step"] == 90
    assert train(*command) == 0
    for run, same in zip(runs(), whole, strict=True):
        assert_same_phases(run, same)
        assert [row["updates"] for row in rows(run, "offline")] == ["29", "49", "69", "119", "139", "159"]
        assert [row["step"] for row in rows(run, "offline")] == ["60"] * 3 + ["90"] * 3
        assert steps(run, "train") == [50, 90]
        assert status(run)["phases"]["offline"]["updates"] == 120


def test_a_process_killed_in_a_phase_goes_on_from_a_checkpoint_within_it(tmp_path: Path, directory: Path) -> None:
    """Rows that were logged after the checkpoint are logged again."""
    (whole,) = train_in(tmp_path / "whole", *SPEQ)
    with pytest.MonkeyPatch.context() as patch:
        at_chunk(6, lambda: shutil.copytree(directory / "outputs", tmp_path / "as_killed"))(patch)
        assert train(*SPEQ) == 0
    shutil.rmtree(directory / "outputs")
    shutil.move(tmp_path / "as_killed", directory / "outputs")
    (only_run() / "lock.json").unlink()
    assert status(only_run())["state"] == "running"
    assert len(rows(only_run(), "offline")) == 5
    made = at_chunk(0, terminate)
    with pytest.MonkeyPatch.context() as patch:
        chunks = made(patch)
        assert train(*SPEQ) == 0
    assert chunks == [1]
    assert_same_phases(only_run(), whole)


def test_seeds_at_different_updates_of_a_phase_go_back_to_where_they_are_equal(tmp_path: Path) -> None:
    command = (*SPEQ, "seed=[0,1]")
    whole = train_in(tmp_path / "whole", *command)
    broken_off(1, *command)
    state = runs()[1] / "checkpoint" / "state_000000060.pt"
    shutil.copy(state, tmp_path)
    broken_off(1, *command)
    shutil.copy(tmp_path / state.name, state)
    assert train(*command) == 0
    for run, same in zip(runs(), whole, strict=True):
        assert "continuing from the checkpoint of step 30" in log_text(run)
        assert_same_phases(run, same)


def test_pretraining_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    """Before the first critic update; and what is left can act and judge with its features alone."""
    command = ("env=hopper", "algo=redq_ofe", "algo.num_critics=2", "algo.utd_ratio=1", LITTLE_BIAS)
    command = (*command, "algo.features.layers=2", "algo.features.pretraining=60", "training.total_steps=56")
    (whole,) = train_in(tmp_path / "whole", *command)
    broken_off(2, *command)
    state = torch.load(io.BytesIO((only_run() / "checkpoint" / "state_000000051.pt").read_bytes()[32:]))
    assert (state["agent"]["feature_updates"], state["agent"]["critic_updates"]) == (40, 0)
    assert train(*command) == 0
    assert_same(only_run(), whole)
    assert untimed(only_run(), "pretraining") == untimed(whole, "pretraining")
    assert [row["updates"] for row in rows(whole, "pretraining")] == ["20", "40", "60"]
    last = rows(whole, "train")[-1]
    assert float(last["features_loss"]) > 0
    assert float(last["features_ratio"]) > 0
    policy = load(whole)
    at, noise = np.full((1, 1, 11), 0.1, dtype=np.float32), np.zeros((1, 1, 3), dtype=np.float32)
    before = policy.agent.act(at, noise)[0]
    policy.agent.state.features.mul_(0.5)
    assert not np.allclose(policy.agent.act(at, noise)[0], before)
    assert torch.equal(weights(whole)["features"] * 0.5, policy.agent.state.features[0])


def test_no_phase_comes_before_updates_begin() -> None:
    assert train(*SPEQ, "training.offline_every=25", "training.total_steps=55") == 0
    assert not (only_run() / "offline.csv").exists()


def test_chunks_divide_the_phase_and_the_interval_of_its_log() -> None:
    assert [chunk_of(updates) for updates in (75_000, 100_000, 60, 7, 1)] == [20, 20, 20, 1, 1]
    assert all(updates % chunk_of(updates) == 0 and chunk_of(updates) <= LARGEST_CHUNK for updates in range(1, 300))


def test_when_phases_are_due() -> None:
    once, often = Phase("once", 40, first=51, every=0), Phase("often", 20, first=60, every=30)
    assert [step for step in range(200) if once.due(step)] == [51]
    assert [step for step in range(160) if often.due(step)] == [60, 90, 120, 150]
    ledger = Phases([once, often], total_steps=100)
    for phase in ledger.to_do(51):
        ledger.count(phase, 1.0)
        assert ledger.state()["under_way"] == ["once", 20]
    assert ledger.under_way is None
    told = ledger.told()
    assert (told["once"]["updates"], told["once"]["of"], told["often"]["of"]) == (20, 40, 40)
    assert ledger.seconds_left(seconds_per_update=0.5) == pytest.approx(20 * 1 / 20 + 40 * 0.5)
