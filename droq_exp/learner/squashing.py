"""The Gaussian, squashed by tanh, with its log-density from the action before tanh, which needs no small number."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from droq_exp.learner.networks import HALF_LOG_TWO_PI


def squashed_sample(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``tanh(u)`` at ``u = mean + std * noise``, ``[S, B, act]`` as all three, and its log-density ``[S, B]``.

    ``log pi = sum(log N(u) - 2 (log 2 - u - softplus(-2 u)))``.
    """
    before = mean + noise * log_std.exp()
    log_normal = -0.5 * noise * noise - log_std - HALF_LOG_TWO_PI
    log_slope = 2 * (math.log(2) - before - functional.softplus(-2 * before))
    return torch.tanh(before), (log_normal - log_slope).sum(-1)
