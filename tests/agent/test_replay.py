"""Replay: what goes in comes out, the oldest goes first, and memory is paid for as it is filled."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from droq_exp.agent.replay import Replay
from droq_exp.learner.transitions import TransitionLayout

CPU = torch.device("cpu")


def filled(seeds: int, capacity: int, count: int) -> Replay:
    """Row ``t`` of seed ``s`` is (100 s + t, t)."""
    replay = Replay(seeds, capacity, 2, CPU)
    for t in range(count):
        replay.add(torch.tensor([[100.0 * s + t, t] for s in range(seeds)]))
    return replay


def test_each_seed_gets_its_own_rows_in_the_order_asked_for() -> None:
    replay = filled(seeds=2, capacity=8, count=5)
    assert replay.sizes == [5, 5]
    rows = replay.gather(torch.tensor([[0, 4, 4], [3, 0, 1]]))
    assert rows[..., 0].tolist() == [[0, 4, 4], [103, 100, 101]]
    assert rows.dtype == torch.float32


def test_the_oldest_rows_are_replaced_when_full() -> None:
    replay = filled(seeds=1, capacity=4, count=6)
    assert replay.sizes == [replay.capacity] == [4]
    rows = replay.gather(torch.arange(4)[None])
    assert sorted(rows[0, :, 1].tolist()) == [2, 3, 4, 5]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_million_steps_of_humanoid_cost_no_memory_before_they_are_made() -> None:
    row_size = TransitionLayout(45, 17).size
    before = resident_bytes()
    replay = Replay(2, 1_000_000, row_size, CPU)
    for _ in range(100):
        replay.add(torch.ones(2, row_size))
    assert replay.gather(torch.randint(0, 100, (2, 5120))).eq(1).all()
    assert resident_bytes() - before < 50e6  # of 880 MB reserved
