"""The table of Adam's coefficients against its definition."""

from __future__ import annotations

import pytest
import torch

from droq_exp.learner.optimiser import BETA1, BETA2, TABLE, AdamSchedule

RATES = [3e-4, 1e-3]
BETA1S = [BETA1, 0.5]


@pytest.mark.parametrize("first", [1, 2, TABLE - 3, TABLE, TABLE + 1, 400_000, 5])
def test_coefficients_are_those_of_the_update(first: int) -> None:
    schedule = AdamSchedule(RATES, torch.float64, torch.device("cpu"), BETA1S)
    schedule.coefficients(1, 20)
    drawn = schedule.coefficients(first, 7)
    assert drawn.shape == (7, 2, 2)
    for i, update in enumerate(range(first, first + 7)):
        for r, rate in enumerate(RATES):
            expected = [rate / (1 - BETA1S[r] ** update), 1 / (1 - BETA2**update) ** 0.5]
            assert drawn[i, r].tolist() == pytest.approx(expected, rel=1e-12)


def test_more_updates_at_once_than_a_table_has() -> None:
    drawn = AdamSchedule(RATES, torch.float32, torch.device("cpu"), BETA1S).coefficients(3, TABLE + 2)
    assert drawn.shape == (TABLE + 2, 2, 2)
    assert drawn[-1, 0, 0].item() == pytest.approx(3e-4)
