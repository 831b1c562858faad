"""Adam and Polyak averaging as a few operations on flat vectors, in place."""

from __future__ import annotations

import numpy as np
from torch import Tensor

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def adam_coefficients(first_update: int, count: int, learning_rate: float) -> np.ndarray:
    """Bias-corrected step sizes of updates ``first_update, ...`` (from 1): ``[count, 2]``, lr / c1 and 1 / sqrt(c2)."""
    k = np.arange(first_update, first_update + count)
    return np.stack([learning_rate / (1 - BETA1**k), 1 / np.sqrt(1 - BETA2**k)], axis=1)


def adam_(param: Tensor, grad: Tensor, moment1: Tensor, moment2: Tensor, coefficients: Tensor) -> None:
    """One Adam step (Kingma and Ba, 2015, algorithm 1), as ``torch.optim.Adam`` does it, on tensors of one shape."""
    moment1.lerp_(grad, 1 - BETA1)
    moment2.mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
    param.sub_(coefficients[0] * moment1 / (moment2.sqrt() * coefficients[1] + EPS))


def polyak_(target: Tensor, online: Tensor, tau: float) -> None:
    """``target <- (1 - tau) target + tau online``."""
    target.lerp_(online, tau)
