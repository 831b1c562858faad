"""The GPU's code path on the CPU: the same functions, so the same numbers, and a graph's rules are kept.

Only the recording of a graph is left out here (``learner/cuda_graph.py``); where there is a GPU, it is tried too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from real_runs import LITTLE_BIAS, interrupt_at, runs, same_weights, train_in, untimed
from real_runs import train as train_run
from reference.cases import ALGORITHMS, VARIATIONS, Algorithm
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from droq_exp.agent.agent import Agent
from droq_exp.agent.cuda_graphs import CudaGraphs
from droq_exp.agent.host import HostExecution
from droq_exp.agent.n_step import replay_of as replay_for
from droq_exp.agent.replay import Replay
from droq_exp.codebases import Codebase, KuCodebase, RedqCodebase
from droq_exp.config import compose
from droq_exp.config.schema import AlgoConfig
from droq_exp.learner.backend import EAGER, Backend
from droq_exp.learner.orders import PolicyBehindCritics
from droq_exp.learner.spec import OFFLINE, LearnerSpec
from droq_exp.learner.state import LearnerState
from droq_exp.learner.transitions import TransitionLayout
from droq_exp.training import hardware
from droq_exp.training.hardware import learner_spec

GRAPHS = Backend("graphs")
OBS_DIM, ACT_DIM, SEEDS = 5, 2, [3, 8]
LAYOUT = TransitionLayout(OBS_DIM, ACT_DIM)


@dataclass(frozen=True)
class Behind(RedqCodebase):
    order = PolicyBehindCritics(3)  # of 4 critic updates a step: three programs in turn


CODEBASES = {
    "redq": RedqCodebase(),
    "ku": KuCodebase(),
    "redq_often": RedqCodebase(policy_update_delay=3),
    "behind": Behind(),
}


def agent_of(
    algorithm: Algorithm, codebase: Codebase, seeds: list[int] = SEEDS, *, offline_chunk: int = 0, **changes: Any
) -> Agent:
    algo = AlgoConfig(
        num_critics=algorithm.num_critics,
        num_min=algorithm.num_min,
        target_mode=algorithm.target_mode,
        target_passes=algorithm.target_passes,
        dropout_rate=0.1 if algorithm.dropout else 0.0,
        layer_norm=algorithm.layer_norm,
        hidden_sizes=[16, 12],
        utd_ratio=4,
        batch_size=8,
        tau=0.02,
        critic_learning_rate=1e-3,
        actor_learning_rate=7e-4,
        temperature_learning_rate=5e-4,
        target_entropy=-1.7,
        initial_temperature=0.7,
    )
    spec = LearnerSpec.of(algo, codebase, seeds=len(seeds), obs_dim=OBS_DIM, act_dim=ACT_DIM, bf16=False)
    return Agent(
        replace(spec, offline_chunk=offline_chunk),
        name="any",
        codebase=codebase,
        seeds=seeds,
        action_low=np.array([-0.5, -3.0], dtype=np.float32),
        action_high=np.array([1.5, 1.0], dtype=np.float32),
        **{"backend": GRAPHS, **changes},
    )


def transition(seeds: list[int], number: int) -> Tensor:
    rngs = [np.random.default_rng([seed, number]) for seed in seeds]
    rows = np.stack([rng.standard_normal(LAYOUT.size, dtype=np.float32) for rng in rngs])
    columns = LAYOUT.columns
    for ends in (columns.terminated, columns.truncated):
        rows[:, ends] = rows[:, ends] > 0.5
    return torch.from_numpy(rows)


def replay_of(seeds: list[int], count: int = 50, device: str = "cpu") -> Replay:
    replay = Replay(len(seeds), 60, LAYOUT.size, torch.device(device))
    for number in range(count):
        replay.add(transition(seeds, number))
    return replay


def train(agent: Agent, replay: Replay, steps: int) -> None:
    """Act, store and learn; the replay buffer fills up in between and starts to overwrite."""
    for _ in range(steps):
        obs = transition(agent.seeds, 1000 + replay.added)[:, :OBS_DIM].numpy()
        rows = transition(agent.seeds, replay.added)
        rows[:, LAYOUT.columns.action] = torch.from_numpy(agent.explore(obs))
        replay.add(rows)
        agent.update(agent.sample(replay))


def assert_same(state: LearnerState, expected: LearnerState) -> None:
    assert state.critic_updates == expected.critic_updates
    assert state.policy_updates == expected.policy_updates
    for name, value in expected.tensors().items():
        assert torch.equal(getattr(state, name), value), name


@pytest.mark.parametrize(
    ("name", "codebase"),
    [
        *product([*ALGORITHMS, *VARIATIONS], ["redq", "ku"]),
        ("droq", "redq_often"),
        ("fractional_dropout", "redq_often"),
        ("droq", "behind"),
    ],
)
def test_the_captured_step_is_the_ordinary_learner(name: str, codebase: str) -> None:
    algorithm = (ALGORITHMS | VARIATIONS)[name]
    agent = agent_of(algorithm, CODEBASES[codebase])
    ordinary = agent_of(algorithm, CODEBASES[codebase], backend=EAGER)
    replay = replay_of(SEEDS)
    for step in range(3):
        obs = transition(SEEDS, 1000 + step)[:, :OBS_DIM].numpy()
        np.testing.assert_allclose(
            agent.explore(obs), ordinary.explore(obs), rtol=1e-5, atol=1e-6
        )  # NumPy's tanh is another
        batch = agent.sample(replay)
        ordinary.update(batch)
        agent.update(batch)
        assert_same(agent.state, ordinary.state)
        assert torch.equal(batch.rows, replay.gather(batch.draws.indices).unflatten(1, (-1, 8)))
        replay.add(transition(SEEDS, 50 + step))
    assert agent.take_metrics() == ordinary.take_metrics()
    assert_same(agent.state, ordinary.state)


def test_observations_are_scaled_in_the_captured_step_as_in_the_ordinary_one() -> None:
    agents = [
        agent_of(ALGORITHMS["droq"], CODEBASES["redq"], normalize_observation=True, backend=backend)
        for backend in (GRAPHS, EAGER)
    ]
    replay = replay_of(SEEDS)
    for step in range(3):
        obs = transition(SEEDS, 1000 + step)[:, :OBS_DIM].numpy() * 3 + 1
        for agent in agents:
            agent.observe(obs)
        acted = [agent.explore(obs) for agent in agents]
        np.testing.assert_allclose(*acted, rtol=1e-5, atol=1e-6)  # NumPy's tanh is another
        batch = agents[0].sample(replay)
        scaled, raw = (LAYOUT.split(rows) for rows in (batch.rows, replay.gather(batch.draws.indices)))
        expected = agents[1]._seen(raw.obs.numpy())
        np.testing.assert_array_equal(scaled.obs.flatten(1, 2).numpy(), expected)
        for agent in agents:
            agent.update(batch)
        assert_same(agents[0].state, agents[1].state)


def small(name: str, backend: Backend, device: str = "cpu", **changes: Any) -> Agent:
    """An agent of an algorithm whose networks have buffers and whose steps differ."""
    config, _ = compose([f"algo={name}", "env=hopper"])
    sizes: dict[str, Any] = {"seeds": len(SEEDS), "obs_dim": OBS_DIM, "act_dim": ACT_DIM, "batch_size": 8} | changes
    spec = replace(learner_spec(config), **sizes, hidden_sizes=(16, 16), actor_hidden_sizes=(8,))
    low, high = np.array([-0.5, -3.0], dtype=np.float32), np.array([1.5, 1.0], dtype=np.float32)
    box: dict[str, Any] = {"action_low": low, "action_high": high}
    return Agent(spec, name=name, codebase=CODEBASES["redq"], seeds=SEEDS, **box, backend=backend, device=device)


@pytest.mark.parametrize(("name", "policy_updates"), [("crossq", 2), ("xqc", 5), ("flashsac", 4)])
def test_a_step_of_each_program_is_captured(name: str, policy_updates: int) -> None:
    agent, ordinary, replay = small(name, GRAPHS), small(name, EAGER), replay_of(SEEDS)
    for step in range(7):
        rows = transition(SEEDS, 1000 + step).numpy()
        obs = rows[:, :OBS_DIM]
        for each in (agent, ordinary):
            each.receive(rows)
        np.testing.assert_array_equal(agent.explore(obs), ordinary.explore(obs))
        batch = agent.sample(replay)
        ordinary.update(batch)
        agent.update(batch)
        assert_same(agent.state, ordinary.state)
    assert agent.state.policy_updates == policy_updates
    on_gpu = small(name, GRAPHS, "meta").execution
    assert isinstance(on_gpu, CudaGraphs)
    with torch.no_grad(), CaptureRules():
        rows, draws = on_gpu.draw(Replay(len(SEEDS), 60, LAYOUT.size, GPU))
        for program in on_gpu.learner.spec.programs:
            on_gpu.learn(program, rows, draws)
        on_gpu.act()


def test_offline_updates_are_captured() -> None:
    """By graphs of their own, whose draws follow from how many there were."""
    algorithm, codebase = ALGORITHMS["droq"], CODEBASES["redq"]
    agents = [agent_of(algorithm, codebase, backend=backend, offline_chunk=5) for backend in (GRAPHS, EAGER)]
    graphs, ordinary = (agent._phases[OFFLINE] for agent in agents)
    assert isinstance(graphs, CudaGraphs)
    assert isinstance(ordinary, HostExecution)
    replay, drawn = replay_of(SEEDS), []
    with torch.no_grad():
        for step in range(5):
            if step in (1, 2, 4):
                rows, draws = graphs.sample(replay)
                drawn.append(draws.indices.clone())
                for execution in (graphs, ordinary):
                    execution.update(rows, draws)
            else:
                batch = agents[0].sample(replay)
                for agent in agents:
                    agent.update(batch)
            assert_same(agents[0].state, agents[1].state)
    assert agents[0].state.offline_updates == agents[1].state.offline_updates == 15
    assert not torch.equal(drawn[0], drawn[1])
    assert agents[0].take_phase_metrics(OFFLINE, replay) == agents[1].take_phase_metrics(OFFLINE, replay)
    on_gpu = agent_of(algorithm, codebase, offline_chunk=5, device="meta")._phases[OFFLINE]
    assert isinstance(on_gpu, CudaGraphs)
    with torch.no_grad(), CaptureRules():
        on_gpu.learn(on_gpu.learner.program(), *on_gpu.draw(Replay(len(SEEDS), 60, LAYOUT.size, GPU)))


def test_rows_of_several_transitions_are_drawn_from_what_each_seed_holds() -> None:
    agent, ordinary = small("crossq", GRAPHS, n_step=3), small("crossq", EAGER, n_step=3)
    replay = replay_for(replace(agent.spec, n_step_form="ku"), 60, torch.device("cpu"))
    before = transition(SEEDS, 0)
    for number in range(1, 45):
        rows = transition(SEEDS, number)
        rows[:, LAYOUT.columns.obs] = before[:, LAYOUT.columns.next_obs]  # an episode goes on
        replay.add(rows)
        before = rows
    assert replay.made[0] != replay.made[1]
    for _ in range(3):
        batch = agent.sample(replay)
        for seed, made in enumerate(replay.made):
            assert 0 <= batch.draws.indices[seed].min() <= batch.draws.indices[seed].max() < made
        ordinary.update(batch)
        agent.update(batch)
        assert_same(agent.state, ordinary.state)


# One seed, one pack, one run and two


@pytest.mark.parametrize("name", ["droq", "fractional_dropout", "rem"])
def test_a_seed_learns_the_same_alone_and_in_a_pack(name: str) -> None:
    algorithm = (ALGORITHMS | VARIATIONS)[name]
    pack, alone = (agent_of(algorithm, CODEBASES["redq"], seeds) for seeds in ([4, 0, 9], [9]))
    for agent in (pack, alone):
        train(agent, replay_of(agent.seeds), 12)
    for tensor, value in alone.state.tensors_of(0).items():
        torch.testing.assert_close(pack.state.tensors_of(2)[tensor], value, rtol=1e-5, atol=1e-6)


def test_it_goes_on_from_a_checkpoint_as_if_never_stopped() -> None:
    whole, first, second = (agent_of(ALGORITHMS["droq"], CODEBASES["ku"]) for _ in range(3))
    replay, other_replay = replay_of(SEEDS), replay_of(SEEDS)
    train(whole, replay, 9)
    train(first, other_replay, 4)
    for member in range(len(SEEDS)):
        second.load_seed_state(member, first.seed_state(member))
    train(second, other_replay, 5)
    assert_same(second.state, whole.state)


@pytest.mark.parametrize("before", [False, True])
def test_a_checkpoint_goes_from_one_kind_of_device_to_the_other(before: bool) -> None:
    first, second = (
        agent_of(ALGORITHMS["droq"], CODEBASES["redq"], backend=GRAPHS if s else EAGER) for s in (before, not before)
    )
    replay = replay_of(SEEDS)
    train(first, replay, 2)
    for member in range(len(SEEDS)):
        second.load_seed_state(member, first.seed_state(member))
    assert_same(second.state, first.state)
    train(second, replay, 2)
    assert second.state.critic_updates == 16
    assert not second.non_finite(0)


def test_loading_a_state_reaches_a_graph_that_is_there() -> None:
    expected, agent = (agent_of(ALGORITHMS["redq"], CODEBASES["redq"]) for _ in range(2))
    start = [expected.seed_state(member) for member in range(len(SEEDS))]
    train(expected, replay_of(SEEDS), 3)
    train(agent, replay_of(SEEDS), 2)
    for member, state in enumerate(start):
        agent.load_seed_state(member, state)
    train(agent, replay_of(SEEDS), 3)
    assert_same(agent.state, expected.state)


def test_results_stay_where_they_are() -> None:
    agent, replay = agent_of(ALGORITHMS["droq"], CODEBASES["redq"]), replay_of(SEEDS)
    first = agent.sample(replay)
    before, where = first.rows.clone(), first.rows.data_ptr()
    agent.update(first)
    second = agent.sample(replay)
    assert second.rows.data_ptr() == where
    assert second.draws is first.draws
    assert not torch.equal(second.rows, before)


def test_other_experience_is_captured_anew() -> None:
    agent, other = (agent_of(ALGORITHMS["sac"], CODEBASES["redq"]) for _ in range(2))
    replays = [replay_of(SEEDS), replay_of(SEEDS, 30)]
    agent.update(agent.sample(replays[0]))
    agent.update(agent.sample(replays[1]))
    other.update(agent_of(ALGORITHMS["sac"], CODEBASES["redq"]).sample(replays[0]))
    other.update(other.sample(replays[1]))
    assert_same(agent.state, other.state)


@pytest.fixture
def captured_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train as on a GPU, but on the CPU."""
    set_up = hardware.set_up
    monkeypatch.setattr(hardware, "set_up", lambda *given: replace(set_up(*given), backend=GRAPHS))


@pytest.mark.program
@pytest.mark.usefixtures("elsewhere", "captured_on_cpu")
def test_a_run_that_was_interrupted_ends_like_one_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["algo=droq", "env=hopper", LITTLE_BIAS, "hardware.updates=eager", "seed=[3,1]"]
    command += ["training.total_steps=100", "checkpoint.interval=30"]
    whole = train_in(tmp_path / "whole", *command)
    with monkeypatch.context() as patch:
        interrupt_at(77, patch)
        assert train_run(*command) == 143
    assert train_run(*command) == 0
    for one, other in zip(runs(), whole, strict=True):
        assert same_weights(one, other)
        for group in ("train", "eval"):
            assert untimed(one, group) == untimed(other, group)


# The rules of a captured graph


class CaptureError(Exception):
    """What a CUDA graph could not hold."""


class CaptureRules(TorchDispatchMode):
    """Refuses the host's tensors, what the host must wait for (a value, a shape), and torch's own generator."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        refused = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.nondeterministic_seeded}
        if func is torch.ops.aten.index.Tensor and all(i is None or i.dtype == torch.int64 for i in args[1]):
            refused.remove(torch.Tag.dynamic_output_shape)  # which it has with a mask
        if refused & set(func.tags):
            raise CaptureError(f"{func} is {', '.join(tag.name for tag in refused & set(func.tags))}")
        if kwargs and kwargs.get("device", GPU) != GPU:
            raise CaptureError(f"{func} makes a tensor of the host")
        result = func(*args, **kwargs or {})
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, Tensor) and tensor.device != GPU:
                raise CaptureError(f"{func} works with a tensor of the host")
        return result


# A device with shapes and types, but without numbers, as if it were a GPU.
GPU = torch.device("meta")


def step_on_gpu(algorithm: Algorithm, codebase: Codebase) -> tuple[CudaGraphs, Replay]:
    agent = agent_of(algorithm, codebase, device="meta")
    assert isinstance(agent.execution, CudaGraphs)
    return agent.execution, Replay(len(SEEDS), 60, LAYOUT.size, GPU)


@pytest.mark.program
@pytest.mark.parametrize(
    ("name", "codebase"), [*product([*ALGORITHMS, *VARIATIONS], ["redq", "ku"]), ("droq", "redq_often")]
)
def test_what_is_captured_keeps_to_the_rules(name: str, codebase: str) -> None:
    step, replay = step_on_gpu((ALGORITHMS | VARIATIONS)[name], CODEBASES[codebase])
    with torch.no_grad(), CaptureRules():
        rows, draws = step.draw(replay)
        step.learn(step.learner.program(), rows, draws)
        action = step.act()
    assert rows.device == action.device == GPU


@pytest.mark.parametrize(
    "breach",
    [
        lambda rows: rows + torch.zeros(1),  # of the host
        lambda rows: rows * torch.tensor(2.0),  # CUDA would take this number, and keep the first one for ever
        lambda rows: rows.cpu(),
        lambda rows: torch.as_tensor(np.ones(3)).to(rows.device),
        lambda rows: rows.sum().item(),
        lambda rows: bool((rows > 0).any()),
        lambda rows: rows[rows > 0],
        lambda rows: torch.nonzero(rows),
        lambda rows: torch.randn(3, device=rows.device),  # has a state of its own, common to the pack
    ],
)
def test_the_rules_bite(breach: Callable[[Tensor], object], monkeypatch: pytest.MonkeyPatch) -> None:
    step, replay = step_on_gpu(ALGORITHMS["sac"], CODEBASES["redq"])
    monkeypatch.setattr(step.learner, "run", lambda program, rows, draws: breach(rows))
    with pytest.raises(CaptureError), torch.no_grad(), CaptureRules():
        step.learn(step.learner.program(), *step.draw(replay))


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@needs_cuda
@pytest.mark.parametrize(
    ("name", "codebase", "compiled"),
    [
        *product(["sac", "droq", "redq", "fractional_dropout", "rem"], CODEBASES, [False]),
        *product(["droq", "fractional"], ["redq", "ku"], [True]),
    ],
)
def test_the_graph_on_a_gpu_is_the_step_on_the_cpu(name: str, codebase: str, compiled: bool) -> None:
    algorithm = (ALGORITHMS | VARIATIONS)[name]
    agent = agent_of(algorithm, CODEBASES[codebase], device="cuda", backend=replace(GRAPHS, compiled=compiled))
    expected = agent_of(algorithm, CODEBASES[codebase])
    replay, other = replay_of(SEEDS, device="cuda"), replay_of(SEEDS)
    for _ in range(5):
        batch, expected_batch = agent.sample(replay), expected.sample(other)
        for name, value in vars(expected_batch.draws).items():
            actual = getattr(batch.draws, name)
            assert (actual is None) == (value is None), name
            if value is not None and value.is_floating_point():
                torch.testing.assert_close(actual.cpu(), value)
            elif value is not None:
                assert torch.equal(actual.cpu(), value), name
        torch.testing.assert_close(batch.rows.cpu(), expected_batch.rows, rtol=1e-3, atol=2e-4)
        train(agent, replay, 1)
        train(expected, other, 1)
    for name, value in expected.state.tensors().items():
        # 20 steps of Adam at 1e-3, whose direction rounding decides where a gradient is next to nothing
        torch.testing.assert_close(getattr(agent.state, name).cpu(), value, rtol=1e-3, atol=2e-4)


@needs_cuda
@pytest.mark.parametrize("compiled", [False, True])
def test_the_host_waits_for_the_action_alone(compiled: bool) -> None:
    agent = agent_of(ALGORITHMS["droq"], CODEBASES["redq"], device="cuda", backend=replace(GRAPHS, compiled=compiled))
    replay = replay_of(SEEDS, device="cuda")
    train(agent, replay, 2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        replay.add(transition(SEEDS, 1))
        agent.update(agent.sample(replay))
        with pytest.raises(RuntimeError, match="synchroniz"):
            agent.explore(np.zeros((len(SEEDS), OBS_DIM), dtype=np.float32))
    finally:
        torch.cuda.set_sync_debug_mode("default")
