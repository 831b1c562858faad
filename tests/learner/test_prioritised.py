"""Prioritised replay over rows of one or several transitions, against a slow reference that draws its own minibatches.

Each comparison starts from used networks and a replay buffer that has wrapped around, and goes on for three environment
steps of 8 updates, two seeds side by side, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from real_runs import assert_interruptions_change_nothing
from reference.bridge import FlatView, codebase_of, spec_of, state_of
from reference.cases import ACT_DIM, ALGORITHMS, BATCH_SIZE, HIDDEN, OBS_DIM, UTD_RATIO, settings_of, used_learner
from reference.records import Batch, CriticDraws, CriticRecord, LayerMasks, PolicyDraws, PolicyRecord
from reference.slow_prioritised import SlowPrioritised
from reference.slow_rows import Row, Transition, rows_of
from test_learner_reference import default_dtype
from torch import Tensor

from droq_exp.agent.agent import Agent
from droq_exp.agent.n_step import replay_of
from droq_exp.agent.priorities import Priorities
from droq_exp.config import ConfigError, compose
from droq_exp.learner.backend import COMPILED, EAGER, Backend, backend_for
from droq_exp.learner.draws import DrawSampler, NewRowDraws
from droq_exp.learner.hyperparameters import Prioritisation
from droq_exp.runs.identity import conflict, identity
from droq_exp.training.hardware import learner_spec

SEEDS, CAPACITY, BEFORE, STEPS, TOTAL_STEPS = [3, 8], 40, 45, 3, 50
CPU = torch.device("cpu")


def transitions_of(codebase: str, seed: int) -> list[Transition]:
    """Episodes of 1 to 9 steps, ended by the task or by a time limit; all numbers are float32's."""
    rng = np.random.default_rng(seed)
    made, left = [], 0
    for number in range(BEFORE + STEPS):
        obs = made[-1].next_obs if left else rng.standard_normal(OBS_DIM, dtype=np.float32)
        left = left or int(rng.integers(1, 10))
        left -= 1
        action = np.tanh(rng.standard_normal(ACT_DIM, dtype=np.float32))
        if codebase == "redq":
            action = action * np.float32([1, 2]) + np.float32([0.5, -1])
        terminated = not left and number % 2 == 0
        reward, next_obs = float(rng.standard_normal(dtype=np.float32)), rng.standard_normal(OBS_DIM, dtype=np.float32)
        made.append(Transition(obs, action, reward, next_obs, terminated, not left and not terminated))
    return made


class Comparison:
    """An agent with two seeds, and a reference of each, fed with the same transitions and random numbers."""

    def __init__(
        self,
        name: str,
        codebase: str,
        n_step: int,
        form: str,
        reference: type[SlowPrioritised] = SlowPrioritised,
        *,
        dtype: torch.dtype = torch.float64,
        backend: Backend = EAGER,
    ) -> None:
        self.algorithm = ALGORITHMS[name]
        settings = self.settings = settings_of(self.algorithm, codebase)
        error = "first" if codebase == "ku" else "mean"
        per = Prioritisation(0.6, 0.4, 1e-4, error, 0.6 / (TOTAL_STEPS * UTD_RATIO))
        spec = spec_of(self.algorithm, settings, len(SEEDS), dtype)
        spec = self.spec = replace(spec, per=per, n_step=n_step, n_step_form=form)
        self.slows = []
        for seed in SEEDS:
            slow: Any = used_learner(settings, seed, saturated=dtype == torch.float64)
            slow.__class__ = reference
            slow.prioritise(error, TOTAL_STEPS * UTD_RATIO, CAPACITY)
            self.slows.append(slow)
        low, high = (
            (settings.action_bias + sign * settings.action_scale).numpy().astype(np.float32) for sign in (-1, 1)
        )
        self.agent = Agent(
            spec,
            name=name,
            codebase=codebase_of(settings),
            seeds=SEEDS,
            action_low=low,
            action_high=high,
            backend=backend,
        )
        used = state_of(self.slows, spec)
        for field, tensor in used.tensors().items():
            getattr(self.agent.state, field).copy_(tensor)
        self.agent.state.critic_updates, self.agent.state.policy_updates = used.critic_updates, used.policy_updates
        self.replay = replay_of(spec, CAPACITY, CPU)
        self.sampler = DrawSampler(spec, SEEDS, CPU)  # the same draws once more
        self.transitions = [transitions_of(codebase, 100 + seed) for seed in SEEDS]
        self.added = 0
        for _ in range(BEFORE):
            self.add()

    def add(self) -> None:
        self.added += 1
        layout = self.spec.layout.single
        newest = [made[self.added - 1] for made in self.transitions]
        rows = [layout.pack(*t[:4], terminated=t.terminated, truncated=t.ended) for t in newest]
        self.replay.add(torch.from_numpy(np.stack(rows)))
        with default_dtype(self.spec.dtype):
            self.agent.stored(self.replay)
        for member, slow in enumerate(self.slows):
            made = rows_of(self.transitions[member][: self.added], self.spec.n_step, self.spec.n_step_form, 0.99)
            for row in made[slow.entered :]:
                slow.enter(row, *self.new_row_draws(self.sampler.draw_new_row(member)))

    def step(self, tolerance: float) -> None:
        self.add()
        with default_dtype(self.spec.dtype):
            self.agent.update(self.agent.sample(self.replay))
        draws = self.sampler.draw(1)
        assert draws.uniforms is not None
        for member, slow in enumerate(self.slows):
            critic = [
                self.critic_draws(
                    draws.next_noise[member, g],
                    None if draws.subset is None else draws.subset[member, g],
                    None if draws.critic_dropout_masks is None else draws.critic_dropout_masks[member, g],  # type: ignore[index]
                )
                for g in range(UTD_RATIO)
            ]
            kept = draws.policy_dropout_masks
            masks = None if kept is None else self.masks(kept[member, 0], [self.algorithm.num_critics])[0]  # type: ignore[index]
            slow.learn(critic, PolicyDraws(draws.policy_noise[member, 0].double(), masks), draws.uniforms[member])
            self.compare(member, slow, tolerance)

    def compare(self, member: int, slow: SlowPrioritised, tolerance: float) -> None:
        for name, value in FlatView(slow, self.spec).state().items():
            actual = getattr(self.agent.state, name)[member].double()
            torch.testing.assert_close(actual, value, rtol=tolerance, atol=tolerance, msg=f"{name} differs")
        priorities = self.replay.priorities
        assert priorities is not None
        held = priorities.state_of(member)
        assert held["entered"] == slow.entered
        assert held["beta"] == pytest.approx(slow.beta, abs=1e-12)
        np.testing.assert_allclose(held["values"].numpy(), slow.priorities, rtol=max(1e-6, tolerance))

    def new_row_draws(self, drawn: NewRowDraws) -> tuple[CriticDraws, list[int]]:
        subset = None if drawn.subset is None else drawn.subset[0]
        masks = None if drawn.dropout_masks is None else drawn.dropout_masks[0]
        pair = list(range(self.algorithm.num_critics)) if drawn.pair is None else drawn.pair.tolist()
        return self.critic_draws(drawn.noise[0], subset, masks, batch_size=1), pair

    def critic_draws(
        self, noise: Tensor, subset: Tensor | None, kept: Tensor | None, batch_size: int = BATCH_SIZE
    ) -> CriticDraws:
        target = list(range(self.algorithm.target_critics)) if subset is None else subset.tolist()
        counts = [len(target), self.algorithm.num_critics]
        target_masks, online_masks = (None, None) if kept is None else self.masks(kept, counts, batch_size)
        placeholder: Any = None  # the reference draws its own
        return CriticDraws(placeholder, noise.double(), target, target_masks, online_masks)

    @staticmethod
    def masks(flat: Tensor, counts: list[int], batch_size: int = BATCH_SIZE) -> list[list[LayerMasks]]:
        """For each group of passes: a list over passes of a list over layers of ``[B, H]``."""
        groups = []
        for count in counts:
            layers = []
            for width in HIDDEN:
                size = count * batch_size * width
                layers.append(flat[:size].reshape(count, batch_size, width).clone())
                flat = flat[size:]
            groups.append([[layer[j] for layer in layers] for j in range(count)])
        assert not len(flat)
        return groups  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "codebase", "n_step", "form"),
    [
        ("sac", "redq", 3, "standard"),
        ("sac", "ku", 3, "ku"),
        ("droq", "redq", 3, "ku"),
        ("droq", "ku", 3, "standard"),
        ("droq", "ku", 1, "standard"),
        ("redq", "redq", 2, "standard"),  # two critics at random
        ("duvn", "ku", 1, "standard"),  # one critic
    ],
)
def test_it_is_the_reference(name: str, codebase: str, n_step: int, form: str) -> None:
    comparison = Comparison(name, codebase, n_step, form)
    for _ in range(STEPS):
        comparison.step(1e-9)


class BetaAfterwards(SlowPrioritised):
    def draw(self, uniforms: Tensor) -> tuple[Batch, Tensor, list[int]]:
        drawn = self.drawn(uniforms)
        self.grow()
        return drawn


class BetaOfCriticsAlone(SlowPrioritised):
    def policy_gradients(self, update: int, batch: Batch, draws: PolicyDraws) -> PolicyRecord:
        self.beta -= 0.6 / self.steps
        return super().policy_gradients(update, batch, draws)


class PlainPolicyLoss(SlowPrioritised):
    def policy_mean(self, values: Tensor) -> Tensor:
        return values.mean()


class PlainTemperature(SlowPrioritised):
    def temperature_mean(self, values: Tensor) -> Tensor:
        return values.mean()


class WeightsOfTheHighest(SlowPrioritised):
    def drawn(self, uniforms: Tensor) -> tuple[Batch, Tensor, list[int]]:
        batch, weights, places = super().drawn(uniforms)
        least = min(float(p) for p in self.priorities)
        of_all = (len(self.rows) * least / sum(float(p) for p in self.priorities)) ** -self.beta
        largest = min(float(self.priorities[place]) for place in places)
        of_minibatch = (len(self.rows) * largest / sum(float(p) for p in self.priorities)) ** -self.beta
        return batch, weights * of_minibatch / of_all, places


class OtherError(SlowPrioritised):
    def prioritise(self, error: str, steps: int, capacity: int) -> None:
        super().prioritise("mean" if error == "first" else "first", steps, capacity)


class EarlierStands(SlowPrioritised):
    def learned(self, places: list[int], record: CriticRecord) -> None:
        super().learned(places[::-1], replace(record, q=record.q.flip(1), target=record.target.flip(0)))


class FirstOfANewRow(SlowPrioritised):
    def first_error(self, errors: list[float]) -> float:
        return errors[0]


class NoEpsilon(SlowPrioritised):
    epsilon = 0.0


class OneDiscount(SlowPrioritised):
    def batch_of(self, rows: Sequence[Row]) -> Batch:
        batch = super().batch_of(rows)
        assert batch.bootstrap is not None
        return replace(batch, bootstrap=batch.bootstrap.sign() * 0.99)


@pytest.mark.program
@pytest.mark.parametrize(
    "mutation",
    [
        BetaAfterwards,
        BetaOfCriticsAlone,
        PlainPolicyLoss,
        PlainTemperature,
        WeightsOfTheHighest,
        OtherError,
        EarlierStands,
        FirstOfANewRow,
        NoEpsilon,
        OneDiscount,
    ],
)
def test_the_comparison_bites(mutation: type[SlowPrioritised]) -> None:
    comparison = Comparison("sac", "ku", 2, "standard", mutation)
    with pytest.raises(AssertionError):
        [comparison.step(1e-9) for _ in range(STEPS)]


@pytest.mark.slow  # compiles for half a minute
def test_compiled_it_is_the_reference_too() -> None:
    comparison = Comparison("sac", "redq", 1, "standard", dtype=torch.float32, backend=COMPILED)
    comparison.step(1e-4)


# Drawing


def priorities_of(values: list[float], *, capacity: int = 6, alpha: float = 1.0, beta: float = 0.4) -> Priorities:
    """Of one seed; epsilon is far below a rounding of them."""
    made = Priorities(Prioritisation(alpha, beta, 1e-12, "mean", 0.1), 1, capacity, CPU)
    made.enter(0, torch.tensor(values))
    return made


def test_exactly_as_many_of_a_fine_grid_fall_to_a_row_as_its_priority_says() -> None:
    values = [1.0, 3.0, 8.0, 4.0]
    grid = (torch.arange(1600, dtype=torch.float64)[None] + 0.5) / 1600
    places, weights = priorities_of(values).draw(grid)
    assert torch.bincount(places[0], minlength=4).tolist() == [100 * value for value in values]
    expected = {place: (1 / value) ** 0.5 for place, value in enumerate(values)}  # beta has grown by 0.1
    for place, weight in expected.items():
        assert weights[places == place].unique().tolist() == [pytest.approx(weight, rel=1e-9)]


def test_a_million_draws_have_the_distribution() -> None:
    values = np.random.default_rng(0).random(200) ** 3
    priorities = priorities_of(values.tolist(), capacity=300, alpha=0.6)
    places, _ = priorities.draw(torch.from_numpy(np.random.default_rng(1).random((1, 1_000_000))))
    expected = 1e6 * values**0.6 / (values**0.6).sum()
    seen = np.bincount(places[0].numpy(), minlength=200)
    assert len(seen) == 200  # never a place without a row
    chi_square = ((seen - expected) ** 2 / expected).sum()
    assert abs(chi_square - 199) < 4 * np.sqrt(2 * 199)


def test_the_ends_of_the_sum_are_its_first_and_last_rows_and_overwriting_takes_the_priority() -> None:
    priorities = priorities_of([1.0, 2.0, 3.0, 4.0, 5.0], capacity=4)  # the fifth in the place of the first
    assert priorities.state_of(0)["values"].tolist() == [5, 2, 3, 4]
    assert priorities.state_of(0)["entered"] == 5
    ends = torch.tensor([[0.0, 5 / 14 - 1e-12, 5 / 14 + 1e-12, 1 - 2.0**-53]], dtype=torch.float64)
    assert priorities.draw(ends)[0].tolist() == [[0, 0, 1, 3]]


def test_beta_stops_short_of_one() -> None:
    priorities = priorities_of([1.0, 2.0])
    for expected in (0.5, 0.6, 0.7, 0.8, 0.9, 1 - 1e-4, 1 - 1e-4):
        priorities.draw(torch.zeros(1, 1, dtype=torch.float64))
        assert priorities.beta == pytest.approx(expected)


# What goes together


def test_others_stand_aside_and_runs_of_before_are_those_without() -> None:
    command = ["algo=droq", "env=hopper"]
    config, recipe = compose([*command, "algo.per.enabled=true"])
    assert config.algo.per.error == "mean"
    assert compose([*command, "algo.per.enabled=true", "codebase=ku"])[0].algo.per.error == "first"
    spec = learner_spec(config)
    assert spec.per == Prioritisation(0.6, 0.4, 1e-4, "mean", 0.6 / (125_000 * 20))
    assert backend_for(spec, "cpu", "auto", 10).name == "eager"
    assert backend_for(spec, "cuda", "auto", 10).name == "eager"
    with pytest.raises(ConfigError, match=r"^hardware.updates: native cannot make these updates: .*algo.per draws"):
        backend_for(spec, "cpu", "native")
    stored = {key: value for key, value in identity(recipe).items() if ".per." not in key and "n_step" not in key}
    assert conflict(stored, recipe) is None
    assert conflict(stored, config) == (
        'algo.per.enabled is false there and true here; algo.per.error is null there and "mean" here'
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "algo.per.enabled=true hardware.updates=graphs",
            "algo.per.enabled: true is .*false with .*graphs.*auto works",
        ),
        ("algo.per.beta=0.5", "algo.per.beta: 0.5 .* left alone with algo.per.enabled=false"),
        ("algo.per.enabled=true algo.per.epsilon=0", "algo.per.epsilon: 0"),
        ("algo.per.enabled=true algo.per.error=second", 'algo.per.error: "second"'),
        ("algo.n_step=0", "algo.n_step: 0"),
        ("algo.n_step_form=sum", 'algo.n_step_form: "sum"'),
    ],
)
def test_what_no_run_can_have_is_told_in_one_line(line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"^{told}"):
        compose(["algo=sac", "env=hopper", *line.split()])


@pytest.mark.program
@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(("algo", "codebase"), [("droq", "ku"), ("sac", "redq")])
def test_interrupted_it_ends_like_a_run_in_one_go(algo: str, codebase: str, tmp_path: Path) -> None:
    command = (f"algo={algo}", "env=hopper", f"codebase={codebase}", "seed=[3,1]", "eval.episodes=1")
    command = (*command, "bias.enabled=false", "algo.n_step=3", "algo.per.enabled=true", "training.replay_size=60")
    assert_interruptions_change_nothing(tmp_path / "whole", command, 23, 83)
