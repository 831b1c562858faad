"""What networks share that normalise over the minibatch: statistics, projections, first weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from droq_exp.config.rules import POSITIVE, POSITIVE_FRACTION, one_of
from droq_exp.config.schema import key
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.networks import Buffers, Shapes, drawn_parameters

PROJECTION_EPS = 1e-8  # beside the sum of squares of scales and shifts
RMS_EPS = 1e-6


def norm_shapes(copies: int, widths: Sequence[int]) -> Shapes:
    """Named shapes of scale and shift of norms of these widths."""
    shapes: Shapes = {}
    for i, width in enumerate(widths):
        shapes |= {f"norm_scale{i}": (copies, 1, width), f"norm_shift{i}": (copies, 1, width)}
    return shapes


def running_statistics(copies: int, widths: Sequence[int]) -> Buffers:
    """Running mean and variance of norms of these widths."""
    buffers: Buffers = {}
    for i, width in enumerate(widths):
        buffers |= {f"mean{i}": ((copies, 1, width), 0.0), f"variance{i}": ((copies, 1, width), 1.0)}
    return buffers


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over the minibatch, ``[S, K, 1, width]`` each, of ``[S, K, B, width]``."""
    mean = x.mean(-2, keepdim=True)
    centred = x - mean
    return mean, (centred * centred).mean(-2, keepdim=True)


@dataclass(frozen=True)
class BatchNormalised:
    """Keys and norms of networks with batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167)."""

    momentum: float = key(0.01, "step of the running statistics towards those of a batch", POSITIVE_FRACTION)
    eps: float = key(1e-3, "added to variances", POSITIVE)
    unbiased: bool = key(False, "whether the running variance estimates that of all data, by B / (B - 1)")
    projection: str = key(
        "kernels",
        "what has a fixed length after every step: the weights into each unit, and with kernels_and_norms scales and "
        "shifts too",
        one_of("none", "kernels", "kernels_and_norms"),
    )

    def normalise(
        self, params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, norm: int, *, training: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Normalise ``x`` ``[S, K, B, width]`` by norm number ``norm``; return it and the moved statistics.

        In training gradients pass through the batch's statistics.
        """
        mean, variance, moved = buffers[f"mean{norm}"], buffers[f"variance{norm}"], {}
        if training:
            running = mean, variance
            mean, variance = batch_moments(x)
            rows = x.shape[-2]
            told = variance.detach() * (rows / (rows - 1)) if self.unbiased else variance.detach()
            moved = {
                f"mean{norm}": torch.lerp(running[0], mean.detach(), self.momentum),
                f"variance{norm}": torch.lerp(running[1], told, self.momentum),
            }
        normal = (x - mean) * torch.rsqrt(variance + self.eps)
        return normal * params[f"norm_scale{norm}"] + params[f"norm_shift{norm}"], moved

    def project(self, params: dict[str, Tensor], spec: Hyperparameters) -> dict[str, Tensor]:
        """Give the weights into each unit length 1, and scale and shift of a norm together its width's square root."""
        projected = dict(params)
        if self.projection == "none":
            return projected
        for name, value in params.items():
            if name.startswith("weight"):
                projected[name] = value / value.norm(dim=-2, keepdim=True)
            elif name.startswith("norm_scale") and self.projection == "kernels_and_norms":
                shift = name.replace("scale", "shift")
                pair = [each for each in (name, shift) if each in params]
                squares = torch.cat([params[each] for each in pair], -1).square().sum(-1, keepdim=True)
                factor = math.sqrt(value.shape[-1]) * torch.rsqrt(squares + PROJECTION_EPS)
                projected |= {each: params[each] * factor for each in pair}
        return projected


def rms_normalise(x: Tensor) -> Tensor:
    """RMS norm (Zhang and Sennrich 2019, arXiv:1910.07467) without its scale."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + RMS_EPS)


def orthogonal_parameters(
    shapes: Shapes, rng: np.random.Generator, gain: float, head_gains: Sequence[float]
) -> np.ndarray:
    """Draw one seed's parameters ``[n]``: orthogonal weights, biases and shifts 0, scales 1.

    The last layer has as many heads of one width as ``head_gains``, each orthogonal by itself.
    """
    last = [name for name in shapes if name.startswith("weight")][-1]

    def orthogonal(fan_in: int, fan_out: int) -> np.ndarray:
        q, r = np.linalg.qr(rng.standard_normal((max(fan_in, fan_out), min(fan_in, fan_out))))
        q = q * np.sign(np.diagonal(r))
        return q if fan_in >= fan_out else q.T

    def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
        copies, fan_in, fan_out = shape
        gains = head_gains if name == last else [gain]
        heads = [each * orthogonal(fan_in, fan_out // len(gains)) for _ in range(copies) for each in gains]
        return np.stack(heads).reshape(copies, len(gains), fan_in, -1).swapaxes(1, 2).reshape(shape)

    return drawn_parameters(shapes, weight)
