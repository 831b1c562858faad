"""The table of Adam's coefficients against its definition."""

from __future__ import annotations

import math

import pytest
import torch

from droq_exp.learner.optimiser import BETA1, BETA2, TABLE, AdamSchedule, Decay, adam_coefficients_at

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


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_rates_go_to_their_end_by_the_optimisers_own_steps(shape: str) -> None:
    end, horizon, updates = 1e-4, 50, [1, 2, 3, 26, 50, 51, 52, 400]
    decay = Decay(end, shape, horizon)
    schedule = AdamSchedule(RATES, torch.float64, torch.device("cpu"), BETA1S, decay)
    for update in updates:
        count = update - 1
        if shape == "linear":
            left = 1 - min(count / horizon, 1)
        else:
            left = (1 + math.cos(math.pi * min(max(count - 1, 0) / (horizon - 1), 1))) / 2
        expected = [
            (end + (rate - end) * left) / (1 - beta1**update) for rate, beta1 in zip(RATES, BETA1S, strict=True)
        ]
        assert schedule.coefficients(update, 1)[0, :, 0].tolist() == pytest.approx(expected, rel=1e-12)
        kind = {"dtype": torch.float64}
        given = torch.tensor([update] * 2), torch.tensor(RATES, **kind), torch.tensor(BETA1S, **kind)
        assert adam_coefficients_at(*given, decay)[:, 0].tolist() == pytest.approx(expected, rel=1e-12)
