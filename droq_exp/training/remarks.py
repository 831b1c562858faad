"""What a user is told once at the start, of a task and a code base that go together otherwise than one may think."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import gymnasium
import numpy as np

from droq_exp.agent.box import ActionBox
from droq_exp.codebases import Codebase
from droq_exp.config.schema import Config
from droq_exp.config.task import tried
from droq_exp.envs.make import action_bounds
from droq_exp.learner.backend import say_once
from droq_exp.runs.directory import RunDirectory
from droq_exp.runs.provenance import other_contacts, versions


def tell(config: Config, env: gymnasium.Env, codebase: Codebase, first: int, runs: Sequence[RunDirectory]) -> None:
    """Say each remark once in this process, and in the log of each run; ``first`` is the step of the first update."""
    task, steps = config.env, config.training.total_steps
    for line in (
        *tried(task).remarks,
        *_of_actions(task.id, env, codebase),
        *_of_mujoco(env),
        *_of_steps(steps, first),
    ):
        say_once(line)
        for run in runs:
            run.log.info("%s", line)


def _of_actions(task_id: str, env: gymnasium.Env, codebase: Codebase) -> Iterator[str]:
    low, high = action_bounds(env)
    scale, offset = action_map = codebase.action_map(low, high)
    if not ActionBox(low, high, action_map).is_filled:
        own, box = _interval(offset - abs(scale), offset + abs(scale)), _interval(low, high)
        yield f"codebase={codebase.name} sends actions in {own}; the action box of {task_id} is {box}"


def _of_mujoco(env: gymnasium.Env) -> Iterator[str]:
    other = other_contacts(versions())
    if hasattr(env.unwrapped, "model") and other is not None:
        yield (
            f"{other}: contacts of Hopper, Ant and Humanoid are not those of 3.3.5, so returns do not "
            "compare with the published ones (docs/fidelity.md)"
        )


def _of_steps(total: int, first: int) -> Iterator[str]:
    if first > total:
        yield f"nothing will be learned: training.total_steps={total:,} ends before the first update, at step {first:,}"


def _interval(low: np.ndarray, high: np.ndarray) -> str:
    each = [f"[{a:g}, {b:g}]" for a, b in zip(low, high, strict=True)]
    return each[0] if len(set(each)) == 1 else " x ".join(each)
