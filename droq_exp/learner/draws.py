"""All the randomness of one environment step's updates, drawn in bulk from one generator per seed and stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from droq_exp.learner.dropout import DropoutMask, KeyedMasks, draw_keys
from droq_exp.learner.own_draws import OwnDraws, Planned, drawn_for, planned, stream_path
from droq_exp.learner.spec import LearnerSpec
from droq_exp.random_streams import Stream, generator, generator_state, set_generator_state


@dataclass
class Draws:
    """What the ``G`` critic updates and at most ``P`` policy updates of one environment step draw.

    The masks lie flat, one after the other as ``LearnerSpec.dropout_shapes`` lists them, and are None without dropout.
    On CPU they are views of the sampler's memory, valid until its next draw, or keys where the updates draw them.
    """

    indices: Tensor | None  # [S, rows] positions in the replay buffer, minibatch after minibatch, the features' last
    next_noise: Tensor  # [S, G, B, act] standard normal
    policy_noise: Tensor  # [S, P, B, act] standard normal
    critic_dropout_masks: Tensor | KeyedMasks | None  # [S, G, target masks, then online masks] uint8
    policy_dropout_masks: Tensor | KeyedMasks | None  # [S, P, masks] uint8
    subset: Tensor | None  # [S, G, num_min rounded up] critics that the target looks at
    in_subset: Tensor | None  # [S, G, T] booleans: which of them count, for a fractional num_min
    rem_weights: Tensor | None  # [S, G, N, B] weights that sum to 1 over N, for target mode rem
    uniforms: Tensor | None = None  # [S, minibatches, B] float64 in [0, 1): with algo.per, in the place of indices
    own: OwnDraws | None = None  # [S, G or P or features' updates, ...], where a part declares any


@dataclass
class NewRowDraws:
    """What one seed's error on one new row draws, with ``algo.per``: as :class:`Draws` for S = G = B = 1."""

    noise: Tensor  # [1, 1, act] standard normal
    dropout_masks: Tensor | None  # [1, target masks, then online masks] uint8
    subset: Tensor | None  # [1, num_min rounded up]
    in_subset: Tensor | None  # [1, T]
    rem_weights: Tensor | None  # [1, N, 1]
    pair: Tensor | None  # [2] the critics whose errors count, where there are more


class DrawSampler:
    """Draws :class:`Draws` for S seeds, each seed from its own generators, whatever other seeds train beside it."""

    def __init__(
        self,
        spec: LearnerSpec,
        seeds: list[int],
        device: torch.device,
        *,
        keyed: bool = False,
    ) -> None:
        """``keyed`` leaves it to the updates to draw the masks, the same ones."""
        self._spec = spec
        self._rngs = [{stream: generator(seed, stream, *spec.draw_path) for stream in Stream} for seed in seeds]
        self._plan = planned(spec)
        self._own_rngs = [
            {
                (call, name): generator(seed, Stream.OWN, *stream_path(call, name), *spec.draw_path)
                for call, wanted in self._plan.items()
                for name in wanted
            }
            for seed in seeds
        ]
        self._single = replace(spec, seeds=1, batch_size=1)
        self._rows, self._feature_rows = (n * spec.batch_size for n in (spec.minibatches, spec.feature_updates))
        self._policy_updates = spec.policy_updates
        self._device = device
        critic, policy = spec.critic_mask_size, spec.policy_mask_size
        self._keep_sizes = critic, policy  # elements an update
        elements = 0 if keyed else spec.utd_ratio * critic + self._policy_updates * policy
        self._keep = np.ones((len(seeds), elements), dtype=np.uint8)
        self._masks = [DropoutMask(row, spec.dropout_rate) for row in self._keep] if elements else []

    def draw(self, held: int | Sequence[int]) -> Draws:
        """Draw for one environment step, minibatches uniform with replacement over the rows that each seed holds."""
        spec, updates = self._spec, self._spec.utd_ratio
        action = (spec.batch_size, spec.act_dim)
        critic_dropout_masks, policy_dropout_masks = self._draw_masks() if spec.dropout_rate else (None, None)
        subsets = [rngs[Stream.TARGET_SUBSET] for rngs in self._rngs]
        subset, in_subset, rem_weights = self._target_draws(subsets, updates, spec.batch_size)
        indices, uniforms = self._minibatch_draws(held)
        return Draws(
            indices=indices,
            next_noise=self._normal(Stream.NEXT_ACTION, (updates, *action)),
            policy_noise=self._normal(Stream.POLICY_ACTION, (self._policy_updates, *action)),
            critic_dropout_masks=critic_dropout_masks,
            policy_dropout_masks=policy_dropout_masks,
            subset=subset,
            in_subset=in_subset,
            rem_weights=rem_weights,
            uniforms=uniforms,
            own=drawn_for(self._plan, self._own_draw),
        )

    def draw_new_row(self, index: int) -> NewRowDraws:
        """Draw for the error of one new row of seed number ``index``."""
        spec, rngs = self._single, self._rngs[index]
        noise = rngs[Stream.NEW_ROW_ACTION].standard_normal((1, spec.act_dim), dtype=np.float32)
        masks = None
        if spec.dropout_rate:
            keep = np.empty(spec.critic_mask_size, dtype=np.uint8)
            DropoutMask(keep, spec.dropout_rate).redraw(rngs[Stream.NEW_ROW_DROPOUT])
            masks = self._stack([keep])
        critics = rngs[Stream.NEW_ROW_CRITICS]
        subset, in_subset, rem_weights = (_first(drawn) for drawn in self._target_draws([critics], 1, 1))
        pair = None
        if spec.num_critics > 2:
            pair = self._stack([critics.permutation(spec.num_critics)[:2]])[0]
        noise_here = self._stack([noise]).to(spec.dtype)
        return NewRowDraws(noise_here, masks, subset, in_subset, rem_weights, pair)

    def seed_state(self, index: int) -> dict[str, Any]:
        """Return where the generators of one seed are, by stream."""
        own = {f"{call}.{name}": rng for (call, name), rng in self._own_rngs[index].items()}
        streams = {stream.name: rng for stream, rng in self._rngs[index].items()}
        return {name: generator_state(rng) for name, rng in {**streams, **own}.items()}

    def load_seed_state(self, index: int, state: dict[str, Any]) -> None:
        """Put the generators of one seed where :meth:`seed_state` found them."""
        for name, where in state.items():
            call, _, own = name.partition(".")
            if not own:
                set_generator_state(self._rngs[index][Stream[name]], where)
            elif (call, own) in self._own_rngs[index]:  # else its part, edited since, does without it
                set_generator_state(self._own_rngs[index][call, own], where)

    def _draw_masks(self) -> tuple[Tensor | KeyedMasks, Tensor | KeyedMasks]:
        """Masks of all critic updates, and of all policy updates behind them."""
        critic, policy = self._keep_sizes
        first = self._spec.utd_ratio * critic
        rngs = [rngs[Stream.DROPOUT] for rngs in self._rngs]
        if not self._masks:
            keys = torch.from_numpy(np.stack([draw_keys(rng) for rng in rngs]).view(np.int64))
            return KeyedMasks(keys, 0, critic), KeyedMasks(keys, first, policy)
        for mask, rng in zip(self._masks, rngs, strict=True):
            mask.redraw(rng)
        dropout_masks = torch.from_numpy(self._keep).to(self._device)
        return (
            dropout_masks[:, :first].unflatten(1, (self._spec.utd_ratio, critic)),
            dropout_masks[:, first:].unflatten(1, (self._policy_updates, policy)),
        )

    def _own_draw(self, call: str, name: str, wanted: Planned) -> Tensor:
        rngs, normal = [rngs[call, name] for rngs in self._own_rngs], wanted.kind == "normal"
        numbers = [(rng.standard_normal if normal else rng.random)(wanted.shape, dtype=np.float32) for rng in rngs]
        return self._stack(numbers).to(self._spec.dtype)

    def _minibatch_draws(self, held: int | Sequence[int]) -> tuple[Tensor | None, Tensor | None]:
        """``indices`` or ``uniforms``."""
        rngs = [rngs[Stream.MINIBATCH] for rngs in self._rngs]
        if self._spec.per is not None:
            shape = self._spec.minibatches, self._spec.batch_size
            return None, self._stack([rng.random(shape) for rng in rngs])
        sizes = [held] * len(rngs) if isinstance(held, int) else held
        drawn = [rng.integers(0, size, self._rows) for rng, size in zip(rngs, sizes, strict=True)]
        if self._feature_rows:
            generators = [rngs[Stream.FEATURE_MINIBATCH] for rngs in self._rngs]
            own = [rng.integers(0, size, self._feature_rows) for rng, size in zip(generators, sizes, strict=True)]
            drawn = [np.concatenate(pair) for pair in zip(drawn, own, strict=True)]
        return self._stack(drawn), None

    def _target_draws(
        self, rngs: list[np.random.Generator], updates: int, batch_size: int
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        spec = self._spec
        subset = in_subset = rem_weights = None
        if spec.draws_subset:
            orders = [np.argsort(rng.random((updates, spec.num_critics)), -1) for rng in rngs]
            subset = self._stack([order[:, : spec.subset_size] for order in orders])
        if spec.fractional:
            whole = int(spec.num_min)
            counts = [whole + (rng.random(updates) < spec.num_min - whole) for rng in rngs]
            ranks = np.arange(spec.subset_size).repeat(spec.target_passes)
            in_subset = self._stack([ranks < count[:, None] for count in counts])
        if spec.target_mode == "rem":
            weights = [rng.random((updates, spec.num_critics, batch_size)) for rng in rngs]
            rem_weights = self._stack([w / w.sum(1, keepdims=True) for w in weights]).to(spec.dtype)
        return subset, in_subset, rem_weights

    def _normal(self, stream: Stream, shape: tuple[int, ...]) -> Tensor:
        drawn = [rngs[stream].standard_normal(shape, dtype=np.float32) for rngs in self._rngs]
        return self._stack(drawn).to(self._spec.dtype)

    def _stack(self, rows: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(rows[0][None] if len(rows) == 1 else np.stack(rows)).to(self._device)


def _first(drawn: Tensor | None) -> Tensor | None:
    return None if drawn is None else drawn[:, 0]
