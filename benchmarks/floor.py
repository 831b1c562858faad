"""The floor under the updates: their matrix multiplications alone, at the rate that this machine reaches now."""

from __future__ import annotations

import torch

from droq_exp.learner.spec import LearnerSpec
from droq_exp.profiling.timing import timed

# A probe takes a few milliseconds: long against the clock and a launch, short against the steps between two of them.
PROBE_FLOPS = {"cpu": 1.4e9, "cuda": 1.4e11}


def learner_flops(spec: LearnerSpec, policy_updates: int) -> int:
    """Floating-point operations of the matrix multiplications of one environment step.

    A forward pass of a layer is one multiplication, its weight gradient another, its input gradient a third. The
    critics' first layer needs no input gradient in their own update and no weight gradient in the policy's, and their
    last layer is no matrix multiplication here (a row reduction).
    """
    hidden = list(zip((spec.obs_dim + spec.act_dim, *spec.hidden_sizes), spec.hidden_sizes, strict=False))
    actor = list(zip((spec.obs_dim, *spec.hidden_sizes), (*spec.hidden_sizes, 2 * spec.act_dim), strict=True))
    critic_pass, critic_inner, actor_pass = (
        sum(2 * spec.batch_size * fan_in * fan_out for fan_in, fan_out in layers)
        for layers in (hidden, hidden[1:], actor)
    )
    critic_update = (
        spec.num_critics * (2 * critic_pass + critic_inner) + spec.target_forwards * critic_pass + actor_pass
    )
    policy_update = 3 * actor_pass + spec.num_critics * 2 * critic_pass
    return spec.seeds * (spec.utd_ratio * critic_update + policy_updates * policy_update)


class Probe:
    """The rate of batched matrix multiplication, floating-point operations a second, at the learner's own shape."""

    def __init__(self, spec: LearnerSpec, device: torch.device) -> None:
        """Use as many matrices as one batched layer of the critics has, at least two."""
        copies, width = max(2, spec.seeds * spec.num_critics), max(spec.hidden_sizes)
        self._x = torch.randn(copies, spec.batch_size, width, device=device)
        self._w = torch.randn(copies, width, width, device=device)
        self._out = torch.empty(copies, spec.batch_size, width, device=device)
        self._flops = 2 * copies * spec.batch_size * width * width
        self._bf16 = spec.bf16
        self._repeats = max(1, round(PROBE_FLOPS[device.type] / self._flops))

    def rate(self) -> float:
        """Measure once."""
        before = torch.get_float32_matmul_precision()
        if self._bf16:
            torch.set_float32_matmul_precision("medium")
        seconds = timed(lambda: [torch.bmm(self._x, self._w, out=self._out) for _ in range(self._repeats)])
        torch.set_float32_matmul_precision(before)
        return self._repeats * self._flops / seconds
