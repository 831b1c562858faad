"""Threads by default: physical cores, affinity, quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from droq_exp.config import compose
from droq_exp.cpu import physical_cores, quota, threads_of_user, usable_cores
from droq_exp.jobs.job import hardware_of_process


def test_hyper_threads_of_a_core_count_once(tmp_path: Path) -> None:
    for cpu in range(4):  # two cores of two threads each
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 2},{cpu % 2 + 2}\n")
    assert physical_cores({0, 1, 2, 3}, tmp_path) == 2
    assert physical_cores({1, 3}, tmp_path) == 1
    assert physical_cores({0, 7}, tmp_path) == 2  # nothing is known of the second


@pytest.mark.parametrize(
    ("content", "cpus"), [("200000 100000\n", 2), ("150000 100000\n", 1), ("max 100000\n", os.cpu_count())]
)
def test_a_containers_quota_is_kept(content: str, cpus: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert quota(tmp_path) == cpus


def test_a_process_bound_to_one_cpu_has_one_core() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("text", "threads"),
    [("3", 3), ("3,2", 3), (" 1 ", 1), ("", None), ("0", None), ("-1", None), ("all", None), ("²", None)],
)
def test_what_the_user_says_to_openmp_counts(text: str, threads: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert threads_of_user() == threads
    config, _ = compose(["hardware=cpu_parallel"])
    assert hardware_of_process(config.hardware).threads == (threads or max(1, usable_cores() // 2))
