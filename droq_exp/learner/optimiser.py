"""Adam and Polyak averaging as a few operations on flat vectors, in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
TABLE = 4096  # updates


@dataclass(frozen=True)
class Decay:
    """How learning rates go from where they start to ``end`` in the first ``horizon`` steps; end None: not at all."""

    end: float | None = None
    shape: str = "linear"  # or cosine
    horizon: int = 1

    def rates(self, start: Any, updates: Any) -> Any:
        """The rates of ``updates`` (from 1), an array or a tensor, that start at ``start``, a number or one each."""
        if self.end is None:
            return start
        done = updates - 1
        if self.shape == "linear":
            return start + (self.end - start) * (done / self.horizon).clip(max=1.0)
        # Whatever steps first has the first rate twice, as FlashSAC's original has it.
        progress = ((done - 1) / max(1, self.horizon - 1)).clip(min=0.0, max=1.0)
        cos = torch.cos if isinstance(progress, Tensor) else np.cos
        return self.end + (start - self.end) * (1 + cos(math.pi * progress)) / 2


CONSTANT = Decay()


def adam_coefficients(
    first_update: int, count: int, learning_rate: float, beta1: float = BETA1, decay: Decay = CONSTANT
) -> np.ndarray:
    """Bias-corrected step sizes of updates ``first_update, ...`` (from 1): ``[count, 2]``, lr / c1 and 1 / sqrt(c2)."""
    k = np.arange(first_update, first_update + count)
    return np.stack([decay.rates(learning_rate, k) / (1 - beta1**k), 1 / np.sqrt(1 - BETA2**k)], axis=1)


class AdamSchedule:
    """The coefficients of all updates, computed some thousands at a time: single ones would cost more than the step."""

    def __init__(
        self,
        learning_rates: Sequence[float],
        dtype: torch.dtype,
        device: torch.device,
        beta1s: Sequence[float],
        decay: Decay = CONSTANT,
    ) -> None:
        """Serve several parameter vectors that are updated together, R of them."""
        self._rates, self._beta1s, self._dtype, self._device = learning_rates, beta1s, dtype, device
        self._decay = decay
        self._first = 0
        self._table = torch.empty(0)

    def coefficients(self, first_update: int, count: int) -> Tensor:
        """:func:`adam_coefficients` of ``count`` updates from ``first_update`` (from 1) on, ``[count, R, 2]``."""
        start = first_update - self._first
        if not 0 <= start <= len(self._table) - count:
            self._first, start, size = first_update, 0, max(TABLE, count)
            table = np.stack(
                [
                    adam_coefficients(first_update, size, *each, self._decay)
                    for each in zip(self._rates, self._beta1s, strict=True)
                ],
                axis=1,
            )
            self._table = torch.as_tensor(table, dtype=self._dtype).to(self._device)
        return self._table[start : start + count]


def adam_coefficients_at(updates: Tensor, learning_rates: Tensor, beta1s: Tensor, decay: Decay = CONSTANT) -> Tensor:
    """Return the same for ``updates`` ``[n]`` that only the device knows, each at its rate (float64): ``[n, 2]``."""
    k = updates.double()
    return torch.stack([decay.rates(learning_rates, k) / (1 - beta1s**k), 1 / (1 - BETA2**k).sqrt()], -1)


def adam_(
    param: Tensor, grad: Tensor, moment1: Tensor, moment2: Tensor, coefficients: Tensor, beta1: float = BETA1
) -> None:
    """One Adam step (Kingma and Ba, 2015, algorithm 1), as ``torch.optim.Adam`` does it, on tensors of one shape."""
    moment1.lerp_(grad, 1 - beta1)
    moment2.mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
    param.sub_(coefficients[0] * moment1 / (moment2.sqrt() * coefficients[1] + EPS))


def polyak_(target: Tensor, online: Tensor, tau: float) -> None:
    """``target <- (1 - tau) target + tau online``."""
    target.lerp_(online, tau)
