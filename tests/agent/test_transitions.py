"""What real training stores in replay, step by step: no transition crosses a reset, and who chose the actions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
import torch
from counting_env import Counting
from real_runs import LITTLE_BIAS, only_run, rows, train

from droq_exp.agent import agent
from droq_exp.agent.n_step import replay_of
from droq_exp.agent.replay import Replay
from droq_exp.random_streams import Stream, generator

pytestmark = pytest.mark.usefixtures("elsewhere")
COUNTING = ("env=gym", "env.id=Counting-v0", LITTLE_BIAS)
Stored = Callable[[], np.ndarray]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Stored:
    """All rows that the last training stored, ``[seeds, steps, row]``.

    obs, action, reward, next_obs, terminated, truncated: of Counting columns 0:2, 2, 3, 4:6, 6 and 7.
    """
    made: list[Replay] = []

    def remember(*args: object) -> Replay:
        made.append(replay_of(*args))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(agent, "replay_of", remember)

    def read() -> np.ndarray:
        seeds = made[-1]._rows.shape[0]
        return made[-1].gather(torch.arange(made[-1].sizes[0]).expand(seeds, -1)).numpy()

    return read


def crossings(transitions: np.ndarray) -> list[int]:
    """Transitions (of obs [episode, time], one action) that do not lead from a step to the next one of an episode."""
    obs, next_obs = transitions[:, :2], transitions[:, 4:6]
    return np.flatnonzero((next_obs != obs + np.array([0, 1])).any(-1)).tolist()


@pytest.mark.parametrize(
    ("codebase", "task"), [("redq", "Counting-v0"), ("ku", "Counting-v0"), ("redq", "Recycling-v0")]
)
def test_no_transition_crosses_a_reset(stored: Stored, codebase: str, task: str) -> None:
    few = [LITTLE_BIAS] if codebase == "redq" else ["eval.episodes=1"]
    # Evaluations in mid-episode: they must not touch the training environment.
    assert train("env=gym", f"env.id={task}", f"codebase={codebase}", *few, "seed=[0,1]", "eval.interval=8") == 0
    for transitions in stored():
        assert len(transitions) == 100
        assert crossings(transitions) == []
        assert transitions[:, 3].tolist() == list(range(1, 101))  # the reward counts the steps: none is missing
        assert transitions[:, 6].tolist() == [float(step % 6 == 0) for step in range(1, 101)]
        assert not transitions[:, 7].any()
        starts = transitions[transitions[:, 1] == 0][:, 0]
        assert starts.tolist() == list(range(17))  # every episode from its reset on, in order


def test_a_time_limit_is_no_termination_and_keeps_the_last_observation(stored: Stored) -> None:
    assert train(*COUNTING, "env.kwargs={length: 6, max_episode_steps: 4}") == 0
    (transitions,) = stored()
    assert crossings(transitions) == []
    assert not transitions[:, 6].any()
    assert transitions[:, 7].tolist() == [float(step % 4 == 0) for step in range(1, 101)]
    last = transitions[transitions[:, 5] == 4]
    assert len(last) == 25
    assert (last[:, 0] == last[:, 4]).all()
    assert float(rows(only_run(), "train")[0]["episode_length_mean"]) == 4


def test_an_end_at_the_time_limit_is_both(stored: Stored) -> None:
    assert train(*COUNTING, "env.kwargs={length: 6, max_episode_steps: 6}") == 0
    (transitions,) = stored()
    ends = [[float(step % 6 == 0)] * 2 for step in range(1, 101)]
    assert transitions[:, 6:].tolist() == ends


def test_gymnasiums_default_vector_makes_transitions_that_cross_resets() -> None:
    """Why training steps no SyncVectorEnv: its NEXT_STEP autoreset takes one more action, which leads to the reset."""
    vector = gymnasium.vector.SyncVectorEnv([lambda: Counting(length=6)])
    assert vector.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.NEXT_STEP
    obs, _ = vector.reset(seed=0)
    transitions = []
    for _ in range(20):
        next_obs, reward, terminated, _, _ = vector.step(np.zeros((1, 1), dtype=np.float32))
        transitions.append(np.concatenate([obs[0], [0.0], reward, next_obs[0], terminated]))
        obs = next_obs.copy()
    assert crossings(np.array(transitions)) == [6, 13]
    assert transitions[6].tolist() == [0, 6, 0, 0, 1, 0, 0]  # from one episode's end to the next one's start, reward 0


@pytest.mark.parametrize(
    ("codebase", "random_steps", "first_update"), [("redq", 11, 11), ("ku", 10, 17)]
)  # a minibatch has 16
def test_where_random_actions_end_and_updates_begin(
    stored: Stored, codebase: str, random_steps: int, first_update: int
) -> None:
    run = [*COUNTING[:2], f"codebase={codebase}", "training.start_steps=10", "training.total_steps=20", "seed=4"]
    assert train(*run, "eval.interval=1", "eval.episodes=1", "bias.enabled=false") == 0
    actions = stored()[0, :, 2]
    uniform = generator(4, Stream.EXPLORATION).uniform(-1, 1, 20).astype(np.float32)
    assert (actions[:random_steps] == uniform[:random_steps]).all()
    assert (actions[random_steps:] != uniform[random_steps:]).all()
    updates = [float(row["updates"]) for row in rows(only_run(), "train")]
    assert updates == [2.0 * max(0, step - first_update + 1) for step in range(1, 21)]


@pytest.mark.parametrize(("codebase", "updates"), [("redq", [2, 4, 6]), ("ku", [0, 2, 4])])
def test_without_a_start_phase_updates_begin_at_once_or_with_more_than_a_minibatch(
    codebase: str, updates: list[int]
) -> None:
    run = [*COUNTING[:2], f"codebase={codebase}", "training.start_steps=0", "training.total_steps=3"]
    assert train(*run, "algo.batch_size=1", "eval.interval=1", "eval.episodes=1", "bias.enabled=false") == 0
    assert [float(row["updates"]) for row in rows(only_run(), "train")] == updates


def test_evaluation_has_environments_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[tuple[int, object]] = []
    reset = Counting.reset

    def noted(self: Counting, *, seed: int | None = None, options: object = None) -> object:
        resets.append((id(self), seed))
        return reset(self, seed=seed, options=options)

    monkeypatch.setattr(Counting, "reset", noted)
    assert train(*COUNTING[:2], "codebase=ku", "eval.episodes=2", "training.total_steps=60") == 0
    unseeded = {env for env, seed in resets if seed is None}
    seeded = [env for env, seed in resets if seed is not None]
    (training_env,) = unseeded
    assert seeded.count(training_env) == 1  # the first episode of training
    assert seeded[-4:-2] == seeded[-2:]  # two episodes at each of two evaluations, in the same environments
    assert len({training_env, *seeded[-2:]}) == 3


def test_replay_forgets_the_oldest(stored: Stored) -> None:
    assert train(*COUNTING, "training.replay_size=60") == 0
    (transitions,) = stored()
    assert crossings(transitions) == []
    assert transitions[:, 3].tolist() == [*range(61, 101), *range(41, 61)]


def test_a_real_tasks_episodes_are_chains(stored: Stored) -> None:
    assert train("env=inverted_pendulum", "bias.enabled=false") == 0
    (transitions,) = stored()
    obs, next_obs, terminated = transitions[:, :4], transitions[:, 6:10], transitions[:, 10]
    for (_, following), (ended, start) in zip(pairwise(obs), zip(terminated, next_obs, strict=True), strict=False):
        assert bool((following == start).all()) is not bool(ended)
