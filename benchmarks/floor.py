"""The floor under the updates: their matrix multiplications alone, at the rate that this machine reaches now."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from droq_exp.learner.draws import DrawSampler
from droq_exp.learner.learner import Learner
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState
from droq_exp.profiling.timing import timed

# A probe takes a few milliseconds: long against the clock and a launch, short against the steps between two of them.
PROBE_FLOPS = {"cpu": 1.4e9, "cuda": 1.4e11}


@torch.no_grad()
def learner_flops(spec: LearnerSpec) -> float:
    """Floating-point operations of the matrix multiplications of one environment step, as PyTorch makes them.

    Counted, not derived: whatever parts there are, what they multiply is what counts. Of an order whose environment
    steps differ it is their mean.
    """
    plain, cpu = replace(spec, per=None, bf16=False), torch.device("cpu")
    state = LearnerState.initial(plain, list(range(plain.seeds)), cpu)
    learner = Learner(plain, state, torch.tensor([[1.0], [0.0]]).expand(2, plain.act_dim))
    draws = DrawSampler(plain, list(range(plain.seeds)), cpu).draw(1)
    rows = torch.zeros(plain.seeds, plain.minibatches + plain.feature_updates, plain.batch_size, plain.row_size)
    with FlopCounterMode(display=False) as counter:
        for program in plain.programs:
            learner.run(program, rows, draws)
    return counter.get_total_flops() / len(plain.programs)


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
