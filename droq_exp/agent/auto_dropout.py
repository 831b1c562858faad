"""``algo.dropout_rate=auto``: learners that differ by their dropout rate alone, side by side on the same transitions.

Each is an agent of its own, with the seeds of the others: what is random in them is the same, the masks included, which
come from the same bits. So one of a rate is what ``algo.dropout_rate=<rate>`` is, but for who acts and for the episodes
that are held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from droq_exp.agent.agent import Agent, Batch
from droq_exp.agent.held_out import HeldOutReplay
from droq_exp.agent.replay import Replay
from droq_exp.agent.selection import SETTLING, Selection
from droq_exp.random_streams import Stream, generator

INTERVAL = 1_000  # environment steps between two validations
MOST, FEWEST = 2_048, 256  # transitions that one looks at; that must be held out for one
FIRST_RATE = 0.01  # acts first, where it is among the rates


class AutoDropout(Agent):
    """K agents that learn from what one of them does; of each seed one is the chosen one, which stands for all.

    It has no learner of its own: what is the same in all of them is the first one's.
    """

    def __init__(self, agents: Sequence[Agent], *, explore: float, hold_out_every: int) -> None:
        """``agents`` differ in their dropout rates; the rest is as ``algo.auto`` has it."""
        one = agents[0]
        self.name, self.seeds, self.codebase, self.device = one.name, one.seeds, one.codebase, one.device
        self.spec, self.state, self.execution, self.box = one.spec, one.state, one.execution, one.box
        self.agents = list(agents)
        self.rates = [agent.spec.dropout_rate for agent in agents]
        self._hold_out_every = hold_out_every
        first = self.rates.index(FIRST_RATE) if FIRST_RATE in self.rates else len(self.rates) // 2
        self.selections = [Selection(seed, len(self.agents), first, explore) for seed in self.seeds]
        self._replay: HeldOutReplay | None = None

    def new_replay(self, capacity: int) -> Replay:
        """As of :class:`Agent`; some episodes are held out."""
        self._replay = HeldOutReplay(self.spec, capacity, self.device, self._hold_out_every)
        return self._replay

    def random_action(self) -> np.ndarray:
        """As of :class:`Agent`."""
        drawn = [agent.random_action() for agent in self.agents]  # by generators that stay alike
        return drawn[0]

    def observe(self, obs: np.ndarray) -> None:
        """As of :class:`Agent`; where an episode begins, decide who acts in it."""
        assert self._replay is not None
        settled = self.state.critic_updates // self.spec.utd_ratio >= SETTLING
        for selection, episode in zip(self.selections, self._replay.episodes, strict=True):
            selection.begin(episode, settled=settled)
        for agent in self.agents:
            agent.observe(obs)

    def receive(self, rows: np.ndarray) -> None:
        """As of :class:`Agent`."""
        for agent in self.agents:
            agent.receive(rows)

    def explore(self, obs: np.ndarray) -> np.ndarray:
        """As of :class:`Agent`, by the learner that acts in each seed's episode."""
        actions = [agent.explore(obs) for agent in self.agents]
        return np.stack([actions[each.acting][index] for index, each in enumerate(self.selections)])

    def sample(self, replay: Replay) -> Batch:
        """As of :class:`Agent`, for each learner; they are the same transitions."""
        first, *others = (agent.sample(replay) for agent in self.agents)
        return first._replace(others=tuple(others))

    def update(self, batch: Batch) -> None:
        """As of :class:`Agent`, of all learners; every so often, look how well they predict what is held out."""
        for agent, its in zip(self.agents, (batch, *batch.others), strict=True):
            agent.update(its)
        assert self._replay is not None
        if self._replay.added % INTERVAL == 0:
            for index in range(len(self.seeds)):
                self._validate(index, self._replay.held_out, self._replay.added)

    def act(self, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As of :class:`Agent`, by each seed's chosen learner."""
        acted = {number: self.agents[number].act(obs, noise) for number in {each.chosen for each in self.selections}}
        one_each = [acted[each.chosen] for each in self.selections]
        actions, log_prob = (np.stack([each[part][i] for i, each in enumerate(one_each)]) for part in (0, 1))
        return actions, log_prob

    def chosen_of(self, seed_index: int) -> Agent:
        """The learner that stands for all of seed ``seed_index``."""
        return self.agents[self.selections[seed_index].chosen]

    def q_values(self, seed_index: int, obs: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """As of :class:`Agent`, of the chosen learner."""
        return self.chosen_of(seed_index).q_values(seed_index, obs, action, rng)

    def temperature(self, seed_index: int) -> float:
        """As of :class:`Agent`, of the chosen learner."""
        return self.chosen_of(seed_index).temperature(seed_index)

    def take_metrics(self) -> list[dict[str, float]]:
        """As of :class:`Agent`: those of the chosen learner, what tells the learners apart, and who was chosen."""
        taken = [agent.take_metrics() for agent in self.agents]
        return [self._metrics(index, [each[index] for each in taken]) for index in range(len(self.seeds))]

    def measured_beside(self, evaluation: int) -> dict[str, Agent]:
        """Every tenth evaluation, all learners by what their mean return is logged as: a diagnosis, no result."""
        return {f"return_at_{rate:g}": each for rate, each in self._by_rate} if evaluation % 10 == 0 else {}

    def weights_of(self, seed_index: int) -> dict[str, Tensor]:
        """As of :class:`Agent`: those of all learners, each name with its rate in front, and which one is chosen."""
        chosen = torch.tensor([self.selections[seed_index].chosen])
        weights = {f"{rate:g}/{n}": t for rate, agent in self._by_rate for n, t in agent.weights_of(seed_index).items()}
        return {"chosen": chosen} | weights

    def load_weights_of(self, seed_index: int, weights: dict[str, Tensor]) -> None:
        """As of :class:`Agent`."""
        self.selections[seed_index].chosen = int(weights["chosen"])
        for rate, agent in self._by_rate:
            own = {name: weights[f"{rate:g}/{name}"] for name in agent.weights_of(seed_index)}
            agent.load_weights_of(seed_index, own)

    def seed_state(self, seed_index: int) -> dict[str, Any]:
        """As of :class:`Agent`."""
        learners = [agent.seed_state(seed_index) for agent in self.agents]
        return {"learners": learners, "selection": self.selections[seed_index].state()}

    def load_seed_state(self, seed_index: int, state: dict[str, Any]) -> None:
        """As of :class:`Agent`."""
        for agent, its in zip(self.agents, state["learners"], strict=True):
            agent.load_seed_state(seed_index, its)
        self.selections[seed_index].load_state(state["selection"])

    def non_finite(self, seed_index: int) -> list[str]:
        """As of :class:`Agent`, of any learner."""
        return [f"{name} at dropout {rate:g}" for rate, agent in self._by_rate for name in agent.non_finite(seed_index)]

    @property
    def _by_rate(self) -> list[tuple[float, Agent]]:
        return list(zip(self.rates, self.agents, strict=True))

    def _validate(self, index: int, held: Replay, step: int) -> None:
        """Look at rows that nobody has learned from; the same ones, with the same noise, for all learners."""
        made = min(held.made[index], held.capacity)
        if made < FEWEST:
            return
        rng = generator(self.seeds[index], Stream.VALIDATION, step)
        rows = held.rows_at(index, rng.permutation(made)[:MOST])
        noise = rng.standard_normal((len(rows), self.spec.act_dim), dtype=np.float32)
        found = [agent.td_error(index, rows, noise) for agent in self.agents]
        self.selections[index].validated(*(np.array(each) for each in zip(*found, strict=True)))

    def _metrics(self, index: int, taken: Sequence[dict[str, float]]) -> dict[str, float]:
        selection = self.selections[index]
        metrics = dict(taken[selection.chosen])
        metrics |= {"chosen_rate": self.rates[selection.chosen], "acting_rate": self.rates[selection.acting]}
        for k, rate in enumerate(self.rates):
            metrics |= {f"{name}_at_{rate:g}": taken[k][name] for name in ("critic_loss", "q_mean") if name in taken[k]}
            if not np.isnan(selection.errors[k]):
                metrics[f"validation_error_at_{rate:g}"] = float(selection.errors[k])
                metrics[f"smoothed_error_at_{rate:g}"] = float(selection.smoothed[k])
                metrics[f"target_variance_at_{rate:g}"] = float(selection.variances[k])
        return metrics
