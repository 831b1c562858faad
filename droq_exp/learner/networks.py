"""Actor and critics as functions of one flat parameter vector per seed.

A network is a table of named shapes; its parameters are ``flat[S, n]``, unflattened into views where they are used.
The critics of an ensemble share one batched matrix multiplication per layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from droq_exp.learner.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from droq_exp.learner.parts import Network

Shapes = dict[str, tuple[int, ...]]
Buffers = dict[str, tuple[tuple[int, ...], float]]  # shape and first value, by name

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
LAYER_NORM_EPS = 1e-5
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def layer_shapes(copies: int, widths: Sequence[int], out: int) -> Shapes:
    """Named shapes of ``copies`` perceptrons: the width of the input, those of the hidden layers, the output units."""
    shapes: Shapes = {}
    for i, (fan_in, fan_out) in enumerate(zip(widths, [*widths[1:], out], strict=True)):
        shapes |= {f"weight{i}": (copies, fan_in, fan_out), f"bias{i}": (copies, 1, fan_out)}
    return shapes


def unflatten(flat: Tensor, shapes: Shapes | Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Split ``flat[S, n]`` into views ``[S, *shape]``, in the order of ``shapes``."""
    sizes = list(shapes.values()) if isinstance(shapes, dict) else list(shapes)
    parts = flat.split([math.prod(shape) for shape in sizes], dim=1)
    return [part.view(flat.shape[0], *shape) for part, shape in zip(parts, sizes, strict=True)]


def named(flat: Tensor, shapes: Shapes) -> dict[str, Tensor]:
    """Name the views of ``flat[S, n]``."""
    return dict(zip(shapes, unflatten(flat, shapes), strict=True))


def named_buffers(flat: Tensor, buffers: Buffers) -> dict[str, Tensor]:
    """Name the views of the buffers ``flat[S, n]``."""
    return named(flat, {name: shape for name, (shape, _) in buffers.items()}) if buffers else {}


def tensors_of(
    network: Network, flat: Tensor, buffers: Tensor, spec: Hyperparameters
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Name the views of a network's parameters and of its buffers, each ``[S, n]``."""
    return named(flat, network.shapes(spec)), named_buffers(buffers, network.buffers(spec))


def flat_buffers(moved: dict[str, Tensor], buffers: Buffers, like: Tensor) -> Tensor:
    """Lay moved buffers, ``[S, ...]`` by name, out as they lie in memory: ``[S, n]``."""
    return torch.cat([moved[name].flatten(1) for name in buffers], 1) if buffers else like.new_zeros(len(like), 0)


def project_(network: Network, flat: Tensor, spec: Hyperparameters) -> None:
    """Put parameters ``[S, n]``, in place, where the network's ``project`` wants them; most networks have none."""
    project = getattr(network, "project", None)
    if project is not None:
        shapes = network.shapes(spec)
        projected = project(named(flat, shapes), spec)
        flat.copy_(torch.cat([projected[name].flatten(1) for name in shapes], 1))


def initial_buffers(buffers: Buffers) -> np.ndarray:
    """One seed's buffers at first, ``[n]``."""
    return np.concatenate([np.zeros(0), *(np.full(math.prod(shape), value) for shape, value in buffers.values())])


def initial_parameters(shapes: Shapes, heads: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one seed's parameters: Xavier-uniform weights, zero biases, unit layer-norm scales.

    Args:
        shapes: the network's table.
        heads: output heads that share the last layer; each takes its own fan-out (2 for the actor in code base redq).
        rng: the seed's parameter stream.

    Returns:
        A flat float64 vector ``[n]``.

    """
    last = f"weight{sum(name.startswith('weight') for name in shapes) - 1}"

    def xavier(name: str, shape: tuple[int, ...]) -> np.ndarray:
        fan_in, fan_out = shape[-2], shape[-1] // (heads if name == last else 1)
        bound = math.sqrt(6 / (fan_in + fan_out))
        return rng.uniform(-bound, bound, shape)

    return drawn_parameters(shapes, xavier)


def drawn_parameters(shapes: Shapes, weight: Callable[[str, tuple[int, ...]], np.ndarray]) -> np.ndarray:
    """One seed's parameters, a flat vector ``[n]``: each weight as drawn, unit scales, zero biases and shifts."""
    return np.concatenate(
        [
            weight(name, shape).ravel()
            if name.startswith("weight")
            else np.full(math.prod(shape), float(name.startswith("norm_scale")))
            for name, shape in shapes.items()
        ]
    )


@dataclass(frozen=True)
class EnsembleCritic:
    """K multilayer perceptrons of (s, a), each with ``units`` outputs: the critics of SAC, REDQ, DroQ and DUVN."""

    reads: ClassVar[tuple[str, ...]] = ("num_critics", "hidden_sizes", "activation", "layer_norm", "dropout_rate")

    @property
    def units(self) -> int:
        """M, the output units of each critic."""
        return 1

    def shapes(self, spec: Hyperparameters) -> Shapes:
        """Named shapes of the N critics of one seed."""
        widths = (spec.critic_inputs, *spec.hidden_sizes)
        shapes = layer_shapes(spec.num_critics, widths, self.units)
        if spec.layer_norm:
            for i, width in enumerate(spec.hidden_sizes):
                shapes |= {
                    f"norm_scale{i}": (spec.num_critics, 1, width),
                    f"norm_shift{i}": (spec.num_critics, 1, width),
                }
        return shapes

    def buffers(self, spec: Hyperparameters) -> Buffers:
        """None."""
        return {}

    def initial(self, spec: Hyperparameters, rng: np.random.Generator) -> np.ndarray:
        """Draw one seed's parameters, ``[n]``."""
        return initial_parameters(self.shapes(spec), 1, rng)

    def outputs(
        self,
        params: dict[str, Tensor],
        buffers: dict[str, Tensor],
        inputs: Tensor,
        dropout_masks: list[Tensor] | None,
        spec: Hyperparameters,
        *,
        training: bool,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate K critics on the same inputs.

        Hidden layer: Linear, dropout, layer norm, activation, in this order (DroQ, section 3).

        Args:
            params: views ``[S, K, ...]``.
            buffers: none.
            inputs: ``[S, B, critic_inputs]``.
            dropout_masks: a 0/1 mask ``[S, K, B, width]`` for each hidden layer, or None without dropout.
            spec: the learner's numbers.
            training: makes no difference.

        Returns:
            ``[S, K, B, M]``, and no buffers.

        """
        copies = params["weight0"].shape[1]
        hidden = inputs.unsqueeze(1).expand(-1, copies, -1, -1)
        for i in range(len(spec.hidden_sizes)):
            hidden = linear(hidden, params[f"weight{i}"]) + params[f"bias{i}"]
            if dropout_masks:
                hidden = dropped(hidden, dropout_masks[i], spec.dropout_rate)
            if spec.layer_norm:
                hidden = normalise(hidden) * params[f"norm_scale{i}"] + params[f"norm_shift{i}"]
            hidden = activated(hidden, spec.activation)
        out = len(spec.hidden_sizes)
        weight, bias = params[f"weight{out}"], params[f"bias{out}"]
        if self.units > 1:
            return linear(hidden, weight) + bias, {}
        # One output unit: a row reduction fuses with what precedes it, a matrix multiplication does not.
        return ((hidden * weight.mT).sum(-1) + bias[..., 0]).unsqueeze(-1), {}


@dataclass(frozen=True)
class SquashedGaussianActor:
    """A multilayer perceptron of s that gives a Gaussian, squashed by tanh: the policy of SAC."""

    reads: ClassVar[tuple[str, ...]] = ("hidden_sizes", "actor_hidden_sizes", "activation")

    def shapes(self, spec: Hyperparameters) -> Shapes:
        """Named shapes of the actor of one seed; its last layer gives the mean, then the log standard deviation."""
        return layer_shapes(1, (spec.actor_inputs, *spec.actor_widths), 2 * spec.act_dim)

    def buffers(self, spec: Hyperparameters) -> Buffers:
        """None."""
        return {}

    def initial(self, spec: Hyperparameters, rng: np.random.Generator) -> np.ndarray:
        """Draw one seed's parameters, ``[n]``."""
        return initial_parameters(self.shapes(spec), spec.actor_heads, rng)

    def distribution(self, params: dict[str, Tensor], obs: Tensor, spec: Hyperparameters) -> tuple[Tensor, Tensor]:
        """Return mean and clamped log standard deviation, each ``[S, B, act]``, of the Gaussian before tanh."""
        hidden, layers = obs.unsqueeze(1), len(params) // 2
        for i in range(layers):
            hidden = linear(hidden, params[f"weight{i}"]) + params[f"bias{i}"]
            if i < layers - 1:
                hidden = activated(hidden, spec.activation)
        mean, log_std = hidden[:, 0].chunk(2, -1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def sample(
        self,
        params: dict[str, Tensor],
        buffers: dict[str, Tensor],
        obs: Tensor,
        noise: Tensor,
        spec: Hyperparameters,
        *,
        training: bool,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Sample ``tanh(mean + std * noise)`` and its log-density.

        ``log pi = sum(log N(u) - log(1 - tanh(u)^2 + 1e-6))`` (both code bases; no term for the action's scale).

        Args:
            params: views ``[S, 1, ...]``.
            buffers: none.
            obs: ``[S, B, obs]``.
            noise: standard normal, ``[S, B, act]``; 0 gives the deterministic action.
            spec: the learner's numbers.
            training: makes no difference.

        Returns:
            Actions in [-1, 1], ``[S, B, act]``, log-densities ``[S, B]``, and no buffers.

        """
        mean, log_std = self.distribution(params, obs, spec)
        action = torch.tanh(mean + noise * log_std.exp())
        log_normal = -0.5 * noise * noise - log_std - HALF_LOG_TWO_PI
        return action, (log_normal - torch.log(1 - action * action + 1e-6)).sum(-1), {}


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """``[S, K, B, in] @ [S, K, in, out]`` as one batched matrix multiplication."""
    return torch.bmm(x.flatten(0, 1), weight.flatten(0, 1)).unflatten(0, weight.shape[:2])


def activated(hidden: Tensor, activation: str) -> Tensor:
    """The hidden units' function of what reaches them."""
    return torch.relu(hidden) if activation == "relu" else torch.nn.functional.gelu(hidden)


def dropped(hidden: Tensor, mask: Tensor, rate: float) -> Tensor:
    """Dropout by a 0/1 mask; what is kept is scaled up by what is not."""
    return hidden * (mask.to(hidden.dtype) * (1 / (1 - rate)))


def normalise(hidden: Tensor) -> Tensor:
    """Layer norm without its affine part, spelled in two passes: ``F.layer_norm`` does not fuse on CPU."""
    centred = hidden - hidden.mean(-1, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + LAYER_NORM_EPS)
