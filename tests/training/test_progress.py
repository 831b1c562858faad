"""The live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from droq_exp.training.phases import Phase, Phases
from droq_exp.training.progress import REFRESH_SECONDS, Progress


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def make(terminal: bool, total_steps: int = 1000, seeds: tuple[int, ...] = (0,)) -> tuple[Progress, io.StringIO, Clock]:
    output, clock = io.StringIO(), Clock()
    console = Console(file=output, force_terminal=terminal, force_interactive=terminal, width=120, color_system=None)
    return Progress("droq hopper", total_steps, seeds, console=console, clock=clock), output, clock


def test_plain_output_has_one_line_per_evaluation() -> None:
    progress, output, clock = make(terminal=False, seeds=(3, 5))
    with progress:
        for step in range(1, 1001):
            clock.seconds += 0.1
            progress.update(step, 20 * max(0, step - 100), [float(step), 0.0] if step % 250 == 0 else None)
    lines = output.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["25.0%", "50.0%", "75.0%", "100.0%"]
    assert lines[1] == "50.0%  step 500/1,000  return 250.0  200 updates/s  0:50 left  droq hopper seeds 3,5"


def test_equal_returns_of_two_evaluations_are_two_lines() -> None:
    progress, output, _ = make(terminal=False)
    with progress:
        progress.update(1, 0, [1000.0])
        progress.update(2, 0, [1000.0])
    assert output.getvalue().count("return 1,000.0") == 2


def test_a_failed_seed_is_no_part_of_the_mean() -> None:
    progress, output, _ = make(terminal=False, seeds=(0, 1, 2, 3, 4))
    with progress:
        progress.update(10, 0, [1.0, math.nan, 3.0, 5.0, 7.0])
        progress.update(20, 0, [math.nan] * 5)  # all have failed, which the run says
    (line,) = output.getvalue().splitlines()
    assert "return 4.0" in line
    assert line.endswith("5 seeds")


def test_a_terminal_gets_one_line_redrawn_in_place() -> None:
    progress, output, clock = make(terminal=True)
    with progress:
        for step in range(1, 1001):
            clock.seconds += 0.1
            progress.update(step, 20 * step, [123.45] if step == 500 else None)
    drawn = output.getvalue()
    assert drawn.count("\n") == 1  # the end of the only line
    assert "\r" in drawn
    assert drawn.count("updates/s") == pytest.approx(1000 * 0.1 / 0.3, rel=0.05)  # every third step: 0.25 s at least
    last = drawn.rsplit("\r", 1)[-1]
    assert "100.0%  step 1,000/1,000  return 123.5  200 updates/s  0:00 left  droq hopper seed 0" in last


def test_nothing_is_drawn_between_two_refreshes() -> None:
    progress, output, clock = make(terminal=True)
    with progress:
        progress.update(1, 0)
        before = output.getvalue()
        clock.seconds += REFRESH_SECONDS * 0.9
        progress.update(2, 0)
        assert output.getvalue() == before
        clock.seconds += REFRESH_SECONDS * 0.2
        progress.update(3, 0)
        assert output.getvalue() != before


def test_random_first_steps_promise_no_end() -> None:
    """They are much quicker than the others: only when these begin is known, and a bound."""
    progress, output, clock = make(terminal=False, total_steps=20_000)
    progress.first_update = 5001
    with progress:
        for step in range(1, 5001):  # 10,000 steps a second
            clock.seconds += 1e-4
            progress.update(step, 0, [1.0] if step in (4000, 5000) else None)
        for step in range(5001, 5101):  # one a second
            clock.seconds += 1.0
            progress.update(step, 20 * (step - 5000), [2.0] if step == 5100 else None)
    random, _, learning = output.getvalue().splitlines()
    assert "- updates/s  more than 0:02 left" in random
    assert "20 updates/s  4:08:20 left" in learning


def test_a_run_without_updates_has_a_time_left_at_once() -> None:
    progress, output, clock = make(terminal=True, total_steps=300)
    progress.first_update = 5001
    with progress:
        for step in range(1, 101):
            clock.seconds += 1.0
            progress.update(step, 0)
    assert "3:20 left" in output.getvalue().rsplit("\r", 1)[-1]


def test_the_time_left_counts_phases_without_environment_steps() -> None:
    """Before the first of them, at the time of an ordinary update."""
    progress, output, clock = make(terminal=True, total_steps=100)
    phase = Phase("offline", 1000, first=50, every=50)
    progress.phases = Phases([phase], 100)
    lines = []

    def told(step: int, updates: int, seconds: float) -> str:
        clock.seconds += seconds
        progress.update(step, updates)
        lines.append(output.getvalue().rsplit("\r", 1)[-1])
        return lines[-1]

    with progress:
        for step in range(1, 51):
            told(step, step, 1.0)  # an update is a second, as far as is known
        assert "34:10 left" in lines[-1]  # 50 steps and 2,000 updates
        updates = 50
        for _ in progress.phases.to_do(50):
            for _ in range(25):  # of 20 updates in 4 seconds
                clock.seconds += 4.0
                updates += phase.chunk
                progress.phases.count(phase, 4.0)
                progress.in_phase(50, updates)
        drawn = output.getvalue().rsplit("\r", 1)[-1]
    assert "5 updates/s" in drawn
    assert "offline 500/1,000" in drawn
    assert "5:50 left" in drawn  # 50 steps of a second, 1,500 updates of a fifth of one
