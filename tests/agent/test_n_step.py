"""Rows of several transitions: worked out by hand, against plain loops, in whatever pieces, and through a whole run."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import counting_env  # noqa: F401  (registers its tasks)
import numpy as np
import pytest
import torch
from counting_env import Counting
from real_runs import (
    LITTLE_BIAS,
    assert_interruptions_change_nothing,
    assert_same,
    interrupt_at,
    log_text,
    only_run,
    status,
    train,
    train_in,
)
from reference.slow_rows import Transition, rows_of

from droq_exp.agent.n_step import NStepReplay, NStepRows, replay_of
from droq_exp.agent.replay import Replay
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.training import loop as training_loop
from droq_exp.training.loop import TrainingLoop

CPU = torch.device("cpu")
# Of one episode each: rewards, and whether it ends by a termination (or else by a time limit).
EPISODES = [([1.0, 2.0, 4.0, 8.0], True), ([16.0, 32.0], False), ([64.0, 128.0, 256.0], False)]


def spec(n: int, form: str = "standard", seeds: int = 1, gamma: float = 0.5) -> Hyperparameters:
    return Hyperparameters(seeds=seeds, obs_dim=1, act_dim=1, n_step=n, n_step_form=form, gamma=gamma)


def transitions(episodes: list[tuple[list[float], bool]] = EPISODES, *, open_end: bool = False) -> np.ndarray:
    """[obs, action, reward, next_obs, terminated, truncated]; obs is 10 episode + step, action 100 + obs."""
    layout, rows = spec(1).layout, []
    for number, (rewards, terminates) in enumerate(episodes):
        for step, reward in enumerate(rewards):
            obs = 10.0 * number + step
            last = step == len(rewards) - 1 and not (open_end and number == len(episodes) - 1)
            ends = {"terminated": last and terminates, "truncated": last and not terminates}
            given = np.array([obs]), np.array([100 + obs])
            rows.append(layout.pack(*given, reward, np.array([obs + 1]), **ends))
    return np.array(rows)


def test_by_hand_with_tails_of_a_termination_and_of_a_time_limit() -> None:
    """Gamma is 1/2. Columns: obs, action, R, next_obs, terminated, truncated, bootstrap."""
    rows = NStepRows(spec(3)).made_of(transitions(EPISODES[:2]))
    assert rows.tolist() == [
        [0, 100, 1 + 2 / 2 + 4 / 4, 3, 0, 0, 1 / 8],
        [1, 101, 2 + 4 / 2 + 8 / 4, 4, 1, 0, 0],
        [2, 102, 4 + 8 / 2, 4, 1, 0, 0],
        [3, 103, 8, 4, 1, 0, 0],
        [10, 110, 16 + 32 / 2, 12, 0, 1, 1 / 4],
        [11, 111, 32, 12, 0, 1, 1 / 2],
    ]
    ku = NStepRows(spec(3, "ku")).made_of(transitions(EPISODES))
    assert ku.tolist() == [
        [0, 100, 1, 3, 0, 0, 1 / 8],
        [1, 101, 2, 4, 1, 0, 0],
        [20, 120, np.float32(64 * 3 / 3), 23, 0, 1, 1 / 8],
    ]


def test_an_episode_that_goes_on_keeps_its_last_starts_back() -> None:
    maker = NStepRows(spec(3))
    assert maker.made_of(transitions(EPISODES[:1], open_end=True))[:, 0].tolist() == [0, 1]
    assert maker.made_of(transitions()[4:])[:2, [0, 3, 6]].tolist() == [[2, 4, 0.25], [3, 4, 0.5]]  # broken off there


def slow_rows(given: np.ndarray, n: int, form: str) -> np.ndarray:
    """Those of the reference, which knows obs, action, reward, next_obs and bootstrap."""
    single = [Transition(row[:1], row[1:2], float(row[2]), row[3:4], row[4] > 0, row[5] > 0) for row in given]
    rows = [[*row.obs, *row.action, row.reward, *row.next_obs, row.bootstrap] for row in rows_of(single, n, form, 0.9)]
    return np.reshape(np.float32(rows), (-1, 5))


@pytest.mark.parametrize("form", ["standard", "ku"])
@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_in_whatever_pieces_they_come_the_rows_are_those_of_plain_loops(n: int, form: str) -> None:
    rng = np.random.default_rng(n)
    lengths = [int(length) for length in rng.integers(1, 9, 40)]
    given = transitions([(rng.standard_normal(length).tolist(), bool(rng.random() < 0.5)) for length in lengths])
    expected = slow_rows(given, n, form)
    cuts = [0, *sorted(int(cut) for cut in rng.integers(0, len(given), 12)), len(given)]
    for pieces in (pairwise(cuts), pairwise(range(len(given) + 1))):
        maker = NStepRows(spec(n, form, gamma=0.9))
        rows = np.concatenate([maker.made_of(given[start:stop]) for start, stop in pieces])
        np.testing.assert_array_equal(rows[:, [0, 1, 2, 3, 6]], expected)
    assert len(expected) == (len(given) if form == "standard" else sum(max(0, length - n + 1) for length in lengths))


def test_a_row_of_one_transition_is_that_transition() -> None:
    given = transitions()
    for form in ("standard", "ku"):
        rows = NStepRows(spec(1, form)).made_of(given)
        np.testing.assert_array_equal(rows[:, :6], given)
        np.testing.assert_array_equal(rows[:, 6], 0.5 * (1 - given[:, 4]))
        assert type(replay_of(spec(1, form), 9, CPU)) is Replay  # and nothing of this is in its way


def test_each_seed_holds_as_many_rows_as_its_episodes_have_made() -> None:
    long, short = transitions([([1.0] * 8, True)]), transitions([([1.0] * 2, True)] * 4)
    replay = NStepReplay(spec(3, "ku", seeds=2), 5, CPU)
    for pair in zip(long, short, strict=True):
        replay.add(torch.from_numpy(np.stack(pair)))
    assert (replay.made, replay.sizes, replay.added) == ([6, 0], [5, 1], 8)
    assert replay.gather(torch.arange(5).expand(2, -1))[0, :, 0].tolist() == [5, 1, 2, 3, 4]  # the oldest is gone
    np.testing.assert_array_equal(replay.since(1, 3), short[3:])
    again = NStepReplay(spec(3, "ku", seeds=2), 5, CPU)
    assert again.first_needed(8) == 0
    for seed_index, given in enumerate((long, short)):
        again.restore(seed_index, 0, given[:3])
        again.restore(seed_index, 3, given[3:])
    assert (again.made, again.sizes, again.added) == ([6, 0], [5, 1], 8)
    assert torch.equal(again._rows[0], replay._rows[0])


def test_bias_estimates_discount_as_the_critics_do() -> None:
    assert spec(3, "ku", gamma=0.9).return_discount == 0.9**3
    assert spec(3, gamma=0.9).return_discount == spec(1, "ku", gamma=0.9).return_discount == 0.9


# Whole runs

COUNTING = ("env=gym", "env.id=Counting-v0", LITTLE_BIAS)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("form", ["standard", "ku"])
def test_a_run_learns_from_the_rows_of_all_its_transitions(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes of 6 steps; rewards are the steps' numbers; a file of single transitions."""
    seen: list[Replay] = []
    update = TrainingLoop._update

    def noted(self: TrainingLoop) -> None:
        update(self)
        seen.append(self._replay)

    monkeypatch.setattr(TrainingLoop, "_update", noted)
    command = (*COUNTING, "algo.n_step=4", f"algo.n_step_form={form}", "checkpoint.keep_replay=true", "algo.gamma=1")
    assert train(*command) == 0
    content = np.fromfile(only_run() / "checkpoint" / "replay.bin", dtype=np.float32).reshape(100, -1)
    assert content[:, 3].tolist() == list(range(1, 101))
    made = seen[-1].made[0]
    assert made == {"standard": 100 - 3, "ku": 3 * 16 + 1}[form]  # 16 episodes, and 4 steps of another
    rows = seen[-1].gather(torch.arange(made)[None])[0]
    first = [1 + 2 + 3 + 4.0, 2 + 3 + 4 + 5, 3 + 4 + 5 + 6]
    assert rows[:3, 3].tolist() == ([value / 4 for value in first] if form == "ku" else first)
    assert rows[2, 4:6].tolist() == [0, 6]
    assert rows[:4, -1].tolist() == ([1, 1, 0, 1] if form == "ku" else [1, 1, 0, 0])


@pytest.mark.usefixtures("elsewhere")
def test_one_step_is_the_plain_algorithm_to_the_bit(tmp_path: Path) -> None:
    (plain,) = train_in(tmp_path / "plain", *COUNTING)
    (one,) = train_in(tmp_path / "one", *COUNTING, "algo.n_step=1", "algo.n_step_form=ku")
    assert_same(one, plain)


@pytest.mark.program
@pytest.mark.usefixtures("elsewhere")
def test_interrupted_in_mid_episode_it_ends_like_a_run_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_loop, "PIECE", 7)  # the file is read back in pieces
    command = ("env=hopper", LITTLE_BIAS, "seed=[3,1]", "algo.n_step=3", "algo.n_step_form=ku")
    command = (*command, "env.normalize_observation=true", "training.replay_size=60")
    assert_interruptions_change_nothing(tmp_path / "whole", command, 23, 77)


@pytest.mark.usefixtures("elsewhere")
def test_episodes_that_leave_nothing_are_told_in_one_line() -> None:
    assert train(*COUNTING, "algo.n_step=7", "algo.n_step_form=ku") == 1
    assert status(only_run())["error"]["summary"] == (
        "nothing to learn from: no episode has had algo.n_step=7 steps, and algo.n_step_form=ku takes no fewer; "
        "algo.n_step_form=standard does"
    )


@pytest.mark.usefixtures("elsewhere")
def test_a_task_that_cannot_be_resumed_exactly_joins_no_two_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was broken off keeps the rows of its transitions, and the episode begun anew has rows of its own."""
    command = (*COUNTING, "algo.n_step=4")
    with monkeypatch.context() as patch:
        interrupt_at(58, patch)  # the 4th step of an episode
        assert train(*command) == 143
    seen: list[Replay] = []
    act = TrainingLoop._act

    def noted(self: TrainingLoop, random: bool) -> None:
        act(self, random)
        seen.append(self._replay)

    monkeypatch.setattr(TrainingLoop, "_act", noted)
    reset = Counting.reset

    def another(self: Counting, *, seed: int | None = None, options: object = None) -> object:
        reset(self, seed=seed, options=options)
        self.episode += 1000
        return self._observation(), {}

    monkeypatch.setattr(Counting, "reset", another)
    assert train(*command) == 0
    assert "cannot be resumed exactly" in log_text(only_run())
    rows = seen[-1].gather(torch.arange(seen[-1].made[0])[None])[0].numpy()
    assert (rows[:, 0] == rows[:, 4]).all()  # each row begins and ends in one episode
    broken = rows[54:58]
    assert broken[:, 1].tolist() == [0, 1, 2, 3]
    assert broken[:, 5].tolist() == [4, 4, 4, 4]
    np.testing.assert_allclose(broken[:, -1], [0.99**k for k in (4, 3, 2, 1)], rtol=1e-6)
