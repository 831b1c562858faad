"""The same randomness as ``draws.py``, drawn on the device from a counter: nothing to wait for, nothing to save."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from droq_exp.learner import dropout
from droq_exp.learner.draws import Draws
from droq_exp.learner.own_draws import Planned, drawn_for, planned, stream_path
from droq_exp.learner.spec import LearnerSpec
from droq_exp.random_streams import Stream, derived_key

COLUMNS = 4096  # of the table of word numbers; small enough to stay in a cache


def signed(word: int) -> int:
    """Return the int64 with the bits of a 64-bit word: torch multiplies and adds int64 modulo 2**64."""
    return (word + 2**63) % 2**64 - 2**63


GOLDEN = int(dropout.GOLDEN)
FACTORS = [signed(int(factor)) for factor in dropout.FACTORS]


class DeviceDraws:
    """Draws :class:`Draws` for S seeds: a function of (seed, stream, number of the environment step) alone.

    So a seed's numbers depend on no other seed, and there is no state that a checkpoint must hold. Only
    tensors of fixed shapes on the device are read and made; a CUDA graph can hold all of it.
    """

    def __init__(
        self,
        spec: LearnerSpec,
        seeds: list[int],
        device: torch.device,
        *,
        compile_draws: bool,
    ) -> None:
        """Derive the keys; ``compile_draws`` makes one graph of the arithmetic."""
        self._spec = spec
        self._policy_updates = policy_updates = spec.policy_updates
        updates, action = spec.utd_ratio, spec.batch_size * spec.act_dim
        critic, policy = spec.critic_mask_size, spec.policy_mask_size
        self._critic_bits = updates * critic
        self._target_words = spec.num_critics * (spec.batch_size if spec.target_mode == "rem" else 1) + 1
        counts = {
            Stream.MINIBATCH: spec.minibatches * spec.batch_size,
            Stream.NEXT_ACTION: 2 * updates * action,
            Stream.POLICY_ACTION: 2 * policy_updates * action,
            Stream.DROPOUT: self._critic_bits + policy_updates * policy,
            Stream.TARGET_SUBSET: updates * self._target_words,
            Stream.FEATURE_MINIBATCH: spec.feature_updates * spec.batch_size,
        }
        path = spec.draw_path
        self._words = {stream: Words(stream, seeds, count, device, path) for stream, count in counts.items()}
        self._plan = planned(spec)
        self._own_words = {
            (call, name): Words(
                Stream.OWN,
                seeds,
                (2 if each.kind == "normal" else 1) * each.size,
                device,
                (*stream_path(call, name), *path),
            )
            for call, wanted in self._plan.items()
            for name, each in wanted.items()
        }
        self._draw: Callable[..., tuple[Any, ...]] = self.draw_flat
        if compile_draws:
            self._draw = torch.compile(self.draw_flat, fullgraph=True, dynamic=False)

    def draw(self, held: Tensor, step: Tensor) -> Draws:
        """Draw for environment step ``step``, minibatches uniform with replacement over the ``held`` rows.

        Both are int64 tensors on the device: ``held`` of the shape ``[S, 1]``, or what broadcasts to it; ``step``
        without dimensions.
        """
        spec, updates = self._spec, self._spec.utd_ratio
        action = (spec.batch_size, spec.act_dim)
        indices, next_noise, policy_noise, dropout_masks, own, *target_draws = self._draw(held, step)
        subset, in_subset, rem_weights = target_draws
        critic_dropout_masks = policy_dropout_masks = None
        if dropout_masks is not None:
            critic_dropout_masks = dropout_masks[:, : self._critic_bits].unflatten(1, (updates, -1))
            policy_dropout_masks = dropout_masks[:, self._critic_bits :].unflatten(
                1, (self._policy_updates, spec.policy_mask_size)
            )
        return Draws(
            indices=indices,
            next_noise=next_noise.unflatten(1, (updates, *action)),
            policy_noise=policy_noise.unflatten(1, (self._policy_updates, *action)),
            critic_dropout_masks=critic_dropout_masks,
            policy_dropout_masks=policy_dropout_masks,
            subset=subset,
            in_subset=in_subset,
            rem_weights=rem_weights,
            own=own,
        )

    def draw_flat(self, held: Tensor, step: Tensor) -> tuple[Any, ...]:
        """Do the arithmetic of :meth:`draw`, one graph where it is compiled; noise and masks still lie flat."""
        spec = self._spec
        words = self._words[Stream.MINIBATCH](step)
        if spec.feature_updates:
            words = torch.cat([words, self._words[Stream.FEATURE_MINIBATCH](step)], -1)
        indices = shifted(words, 1) % held
        next_noise = normal(self._words[Stream.NEXT_ACTION](step)).to(spec.dtype)
        policy_noise = normal(self._words[Stream.POLICY_ACTION](step)).to(spec.dtype)
        dropout_masks = None
        if spec.dropout_rate:
            dropout_masks = (~happens(self._words[Stream.DROPOUT](step), spec.dropout_rate)).to(torch.uint8)

        def own_draw(call: str, name: str, wanted: Planned) -> Tensor:
            words = self._own_words[call, name](step)
            numbers = normal(words) if wanted.kind == "normal" else shifted(words, 40) * 2.0**-24  # as floats, below 1
            return numbers.to(spec.dtype).unflatten(1, wanted.shape)

        own = drawn_for(self._plan, own_draw)
        return indices, next_noise, policy_noise, dropout_masks, own, *self._target_draws(step)

    def _target_draws(self, step: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Draw ``subset``, ``in_subset`` and ``rem_weights``."""
        spec = self._spec
        subset = in_subset = rem_weights = None
        words = self._words[Stream.TARGET_SUBSET](step).unflatten(1, (spec.utd_ratio, self._target_words))
        if spec.draws_subset:
            subset = words[..., :-1].argsort(-1)[..., : spec.subset_size]
        if spec.fractional:
            whole = int(spec.num_min)
            one_more = happens(words[..., -1:], spec.num_min - whole)
            in_subset = torch.cat([torch.ones_like(one_more).expand(-1, -1, whole), one_more], -1)
            in_subset = in_subset.repeat_interleave(spec.target_passes, -1)
        if spec.target_mode == "rem":
            weights = uniform(words[..., :-1]).unflatten(-1, (spec.num_critics, spec.batch_size))
            rem_weights = (weights / weights.sum(2, keepdim=True)).to(spec.dtype)
        return subset, in_subset, rem_weights


class Words:
    """64 random bits ``[S, count]`` for each environment step: SplitMix64 (Steele, Lea and Flood, 2014) of a counter.

    Word i of step t is number ``t * count + i`` of the generator that starts at the key of seed and stream.
    """

    def __init__(
        self, stream: Stream, seeds: list[int], count: int, device: torch.device, path: tuple[int, ...] = ()
    ) -> None:
        """Derive the keys on the host, and the multiples of GOLDEN that a step adds.

        These are tables, not an arange: torch.compile would do its arithmetic in the 32 bits of a GPU's indices.
        """
        rows = np.arange(-(-count // COLUMNS), dtype=np.uint64)[:, None]
        columns = np.arange(min(count, COLUMNS), dtype=np.uint64)

        def table(words: np.ndarray) -> Tensor:
            return torch.from_numpy(words.view(np.int64)).to(device)

        keys = np.array([derived_key(seed, stream, *path) for seed in seeds], dtype=np.uint64)
        self._keys = table(keys[:, None, None])
        self._rows = table(rows * np.uint64(COLUMNS) * dropout.GOLDEN)
        self._columns = table((columns + np.uint64(1)) * dropout.GOLDEN)
        self._step = signed(count * GOLDEN)
        self._count = count

    def __call__(self, step: Tensor) -> Tensor:
        """Return the words of environment step ``step``, an int64 tensor without dimensions."""
        x = self._keys + step * self._step + self._rows + self._columns
        x = (x ^ shifted(x, 30)) * FACTORS[0]
        x = (x ^ shifted(x, 27)) * FACTORS[1]
        return (x ^ shifted(x, 31)).flatten(1)[:, : self._count]


def shifted(words: Tensor, bits: int) -> Tensor:
    """Shift right, zeros coming in; ``>>`` repeats the sign."""
    return (words >> bits) & (2 ** (64 - bits) - 1)


def happens(words: Tensor, probability: float) -> Tensor:
    """Booleans, each true with this probability, exact to 2**-64."""
    return words < int(probability * 2**64) - 2**63


def uniform(words: Tensor) -> Tensor:
    """Float64 in (0, 1], from 53 bits."""
    return (shifted(words, 11).double() + 0.5) * 2.0**-53


def normal(words: Tensor) -> Tensor:
    """Standard normal float64 ``[S, n]`` of ``[S, 2 n]`` words, by Box and Muller."""
    radius, angle = uniform(words).chunk(2, -1)
    return (-2 * radius.log()).sqrt() * (2 * math.pi * angle).cos()
