"""A transition's layout against columns written by hand, and what of it the learner looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, replace

import numpy as np
import pytest
import torch
from omegaconf import MISSING as OPEN

from droq_exp.config.schema import AlgoConfig
from droq_exp.learner import updates
from droq_exp.learner.backend import why_not_native
from droq_exp.learner.draws import DrawSampler
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.native.actor import TargetInputs
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState
from droq_exp.learner.transitions import TransitionLayout

LAYOUT = TransitionLayout(obs_dim=3, act_dim=2)
ROW = [1.0, 2.0, 3.0, 10.0, 20.0, -5.0, 4.0, 5.0, 6.0, 1.0, 0.0]
#      obs            action      reward next_obs     terminated, truncated
COLUMNS = {
    "obs": [0, 1, 2],
    "action": [3, 4],
    "reward": [5],
    "next_obs": [6, 7, 8],
    "terminated": [9],
    "truncated": [10],
}
SPEC = LearnerSpec(seeds=1, obs_dim=3, act_dim=2, hidden_sizes=(8, 8), batch_size=4, utd_ratio=2)
N_STEP = replace(SPEC, n_step=3)


def test_the_columns_are_where_they_were_and_truncated_is_the_last() -> None:
    assert LAYOUT.size == SPEC.row_size == len(ROW)
    assert {name: list(range(11))[part] for name, part in LAYOUT.columns._asdict().items() if part} == COLUMNS
    assert LAYOUT.widths._asdict() == {name: len(columns) for name, columns in COLUMNS.items()} | {"bootstrap": None}
    assert SPEC.layout == LAYOUT


def test_rows_of_several_transitions_have_one_number_more() -> None:
    layout = N_STEP.layout
    assert (layout.size, layout.columns.bootstrap, layout.single) == (12, slice(11, 12), LAYOUT)
    assert layout.columns[:6] == LAYOUT.columns[:6]
    parts = layout.split(torch.tensor([[*ROW, 0.5]]))
    assert parts.bootstrap is not None
    assert parts.bootstrap.tolist() == [0.5]


def test_a_row_is_packed_in_float32() -> None:
    obs, action, next_obs = np.float32([1, 2, 3]), np.float32([10, 20]), np.float32([4, 5, 6])
    row = LAYOUT.pack(obs, action, -5.0, next_obs, terminated=True, truncated=False)
    assert (row.dtype, row.tolist()) == (np.float32, ROW)
    both = LAYOUT.pack(obs, action, 0.1, next_obs, terminated=False, truncated=True)
    assert both[-2:].tolist() == [0, 1]
    assert both[5] == np.float32(0.1)


def test_rows_are_split_into_views() -> None:
    rows = torch.tensor(ROW).expand(2, 4, -1).clone()
    parts = LAYOUT.split(rows)
    for name, columns in COLUMNS.items():
        part = getattr(parts, name)
        expected = torch.tensor(ROW)[columns].expand(2, 4, -1)
        assert torch.equal(part, expected if name in ("obs", "action", "next_obs") else expected[..., 0])
        assert part.untyped_storage().data_ptr() == rows.untyped_storage().data_ptr()


def test_old_rows_get_a_zero() -> None:
    old = np.float32([ROW[:-1], ROW[:-1]])
    assert LAYOUT.widened(old).tolist() == [ROW, ROW]
    assert LAYOUT.widened(old).dtype == np.float32
    for size in (9, 11):
        with pytest.raises(ValueError, match=f"rows of {size} numbers are none of this task, whose rows have 11"):
            LAYOUT.widened(np.zeros((2, size), dtype=np.float32))


def target_inputs(way: str, spec: LearnerSpec = SPEC) -> Callable[..., tuple[torch.Tensor, ...]]:
    if way == "native":
        if (reason := why_not_native(spec)) is not None:
            pytest.skip(reason)
        return TargetInputs(spec)

    def defined(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return updates.target_inputs(spec, *given)

    return defined


@pytest.mark.parametrize("way", ["torch", "native"])
def test_bootstrapping_looks_at_terminated_alone(way: str) -> None:
    state = LearnerState.initial(SPEC, [0], torch.device("cpu"))
    draws = DrawSampler(SPEC, [0], torch.device("cpu")).draw(10)
    rows = torch.randn(1, 2, 4, SPEC.row_size, generator=torch.Generator().manual_seed(0))
    rows[..., 9] = torch.tensor([0.0, 1.0, 0.0, 1.0])
    action_map, given = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), []
    for truncated in ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]):
        rows[..., 10] = torch.tensor(truncated)
        given.append(
            target_inputs(way)(
                state.actor, state.actor_buffers, state.alpha, rows.clone(), draws.next_noise, action_map
            )
        )
    for first, second in zip(*given, strict=True):
        assert torch.equal(first, second)
    assert given[0][3].tolist() == [[pytest.approx([0.99, 0, 0.99, 0])] * 2]
    assert torch.equal(given[0][0], rows[..., :5])
    assert torch.equal(given[0][1][..., :3], rows[..., 6:9])
    terminal = rows[..., 9] == 1
    assert torch.equal(given[0][2][terminal], rows[..., 5][terminal])


@pytest.mark.parametrize("way", ["torch", "native"])
def test_a_row_of_several_transitions_says_itself_how_much_bootstrapping_counts(way: str) -> None:
    state = LearnerState.initial(SPEC, [0], torch.device("cpu"))
    draws = DrawSampler(SPEC, [0], torch.device("cpu")).draw(10)
    rows = torch.randn(1, 2, 4, N_STEP.row_size, generator=torch.Generator().manual_seed(0))
    rows[..., 11] = torch.tensor([0.5, 0.0, 0.99, 0.25])
    action_map = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    given = state.actor, state.actor_buffers, state.alpha
    *_, reward, discount = target_inputs(way, N_STEP)(*given, rows, draws.next_noise, action_map)
    assert torch.equal(discount, rows[..., 11])
    single = rows[..., :11].clone()
    single[..., 9] = 0
    *_, plain, _ = target_inputs(way)(*given, single, draws.next_noise, action_map)
    bonus = (plain - rows[..., 5]) / 0.99  # -alpha log pi
    torch.testing.assert_close(reward, rows[..., 5] + discount * bonus, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_it_compiles_as_a_whole_to_slices() -> None:
    def first_and_last(rows: torch.Tensor) -> torch.Tensor:
        parts = SPEC.layout.split(rows)
        return parts.obs[..., 0] + parts.truncated

    rows = torch.tensor(ROW).expand(2, 4, -1).clone()
    compiled = torch.compile(first_and_last, fullgraph=True, dynamic=False, backend="eager")
    assert torch.equal(compiled(rows), torch.ones(2, 4))


def test_what_a_key_of_algo_has_as_its_default_a_spec_has_too() -> None:
    """The learner imports nothing of the configuration, so what stands twice is compared."""
    keys, numbers = ({each.name: each for each in fields(kind)} for kind in (AlgoConfig, Hyperparameters))
    compared = []
    for name in keys.keys() & numbers.keys() - {"per"}:
        made, spec = keys[name].default_factory, numbers[name].default
        default = keys[name].default if made is MISSING else tuple(made())
        if default not in (OPEN, None) or numbers[name].default is None:
            assert spec == default, name
            compared.append(name)
    assert len(compared) > 20
