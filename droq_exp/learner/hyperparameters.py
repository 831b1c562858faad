"""The numbers that fix the learner's arithmetic and shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from droq_exp.learner.optimiser import Decay
from droq_exp.learner.transitions import TransitionLayout


@dataclass(frozen=True)
class Prioritisation:
    """``algo.per``, and by how much beta grows with each minibatch."""

    alpha: float
    beta: float
    epsilon: float
    error: str  # first or mean
    growth: float


@dataclass(frozen=True)
class Hyperparameters:
    """What parts are told beside their own keys; S seeds train side by side with the same numbers.

    ``policy_value`` says how the critics enter the policy's objective: ``mean`` or ``min`` over all N. With
    ``joint_pass`` the critics see (s, a) and (s', a') as one batch of 2 B; without ``target_network`` the second half
    of that pass is what the target is made of (CrossQ). With ``joint_policy_pass`` the actor sees s and s' as one batch
    where it learns. ``units`` are the outputs of each critic, as the objective asks. ``reward_scale`` and
    ``noise_repeat`` change what the agent hands to the updates and to the task.
    """

    seeds: int
    obs_dim: int
    act_dim: int
    hidden_sizes: tuple[int, ...] = (256, 256)
    actor_hidden_sizes: tuple[int, ...] | None = None
    activation: str = "relu"  # or gelu, by the normal distribution function (arXiv:1606.08415)
    num_critics: int = 2
    num_min: float = 2
    target_mode: str = "min"
    target_passes: int = 1
    dropout_rate: float = 0.0
    layer_norm: bool = False
    policy_value: str = "mean"
    actor_heads: int = 1
    utd_ratio: int = 20
    batch_size: int = 256
    gamma: float = 0.99
    n_step: int = 1  # transitions of a row, where its episode does not end before; they are made before they are stored
    n_step_form: str = "standard"  # or ku: divided by n_step, and whole ones only
    per: Prioritisation | None = None  # None: minibatches are drawn uniformly
    tau: float = 0.005
    critic_learning_rate: float = 3e-4
    actor_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    learning_rate_end: float | None = None
    learning_rate_shape: str = "linear"
    learning_rate_horizon: int | None = None
    adam_beta1: float = 0.9
    target_network: bool = True
    joint_pass: bool = False
    joint_policy_pass: bool = False
    units: int = 1
    target_entropy: float = -1.0
    learn_temperature: bool = True
    temperature_loss: str = "log_form"
    initial_temperature: float = 1.0
    first_alpha: float | None = None  # the temperature up to and including the first policy update; None: the initial
    reward_scale: str = "none"
    noise_repeat: int = 1
    dtype: torch.dtype = torch.float32
    bf16: bool = False  # the C++ rounds the factors of its matrix multiplications, those of the first layers excepted

    @property
    def actor_inputs(self) -> int:
        """Numbers that the actor sees."""
        return self.obs_dim

    @property
    def critic_inputs(self) -> int:
        """Numbers that the critics see."""
        return self.obs_dim + self.act_dim

    @property
    def actor_widths(self) -> tuple[int, ...]:
        """Hidden layers of the actor."""
        return self.hidden_sizes if self.actor_hidden_sizes is None else self.actor_hidden_sizes

    @property
    def decay(self) -> Decay:
        """How the learning rates change with each optimiser's own steps."""
        return Decay(self.learning_rate_end, self.learning_rate_shape, self.learning_rate_horizon or 1)

    @property
    def subset_size(self) -> int:
        """Critics evaluated for one target: all for ``ave`` and ``rem``, else ``num_min`` rounded up."""
        return math.ceil(self.num_min) if self.target_mode == "min" else self.num_critics

    @property
    def draws_subset(self) -> bool:
        """Whether the target looks at a random subset of the critics."""
        return self.target_mode == "min" and self.num_min < self.num_critics

    @property
    def fractional(self) -> bool:
        """Whether the size of the subset is itself random."""
        return self.target_mode == "min" and self.num_min != int(self.num_min)

    @property
    def target_forwards(self) -> int:
        """T: forward passes behind one target, ``target_passes`` for each critic looked at."""
        return self.subset_size * self.target_passes

    @property
    def layout(self) -> TransitionLayout:
        """Which numbers of a row are what."""
        return TransitionLayout(self.obs_dim, self.act_dim, self.n_step > 1)

    @property
    def row_size(self) -> int:
        """Numbers in a row."""
        return self.layout.size

    @property
    def return_discount(self) -> float:
        """Discount, for each step of the task, of the returns that the critics predict.

        In the form ``ku`` a row's rewards count as one reward, their mean, in front of ``gamma ** n_step``.
        """
        return self.gamma**self.n_step if self.n_step_form == "ku" else self.gamma

    def dropout_shapes(self, forwards: int) -> list[tuple[int, int, int]]:
        """Shapes of the dropout masks of ``forwards`` critic passes over one minibatch, a mask a hidden layer."""
        return [(forwards, self.batch_size, width) for width in self.hidden_sizes] if self.dropout_rate else []

    @property
    def policy_mask_size(self) -> int:
        """Elements of the masks of one policy update."""
        return sum(math.prod(shape) for shape in self.dropout_shapes(self.num_critics))

    @property
    def critic_mask_size(self) -> int:
        """Elements of the masks of one critic update: those of the target passes, then of the critics' own."""
        return sum(math.prod(shape) for shape in self.dropout_shapes(self.target_forwards)) + self.policy_mask_size
