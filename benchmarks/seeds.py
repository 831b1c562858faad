"""Seeds trained together: how many updates a second several of them make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.launch_bound import kernels, launch_bound, seconds_per_launch
from benchmarks.learner import Learning, build_learner, described
from droq_exp.config import Config
from droq_exp.profiling.timing import WARM_UP_STEPS, timed
from droq_exp.training import hardware


def benchmark_seeds(config: Config, counts: Sequence[int], steps: int) -> dict[str, Any]:
    """Time the updates of groups of ``counts`` seeds, in turn: an environment step of each, ``steps`` times.

    Updates per second are critic updates of all seeds of a group, and ``ratio`` is to those of the first group: with 1
    as the first count, 1 means as fast as one seed after the other. On a GPU ``launch_bound_ms`` is what it takes to
    start the kernels of an environment step, and ``launch_bound_share`` how much of the time that explains.
    """
    machine = hardware.set_up(config)
    groups = [build_learner(replace(config, seed=list(range(count))), machine) for count in counts]
    for _ in range(1 + WARM_UP_STEPS):  # after all are built: building one makes torch.compile forget the others
        for group in groups:
            group.step()
    seconds = np.array([[timed(group.step) for group in groups] for _ in range(steps)])
    times = np.median(seconds, axis=0)
    rates = [_updates(group) / time for group, time in zip(groups, times, strict=True)]
    bounds: list[dict[str, float]] = [{} for _ in groups]
    if machine.device != "cpu":
        launch = seconds_per_launch(groups[0].agent.device)
        bounds = [launch_bound(kernels(group.step), launch, time) for group, time in zip(groups, times, strict=True)]
    shared = described(config, machine)
    del shared["seeds"]
    return {
        "benchmark": "seeds",
        **shared,
        "steps": steps,
        "rows": [
            {
                "seeds": count,
                "ms_per_env_step": round(1e3 * time, 3),
                "updates_per_second": round(rate, 1),
                "ratio": round(rate / rates[0], 3),
                **bound,
            }
            for count, time, rate, bound in zip(counts, times, rates, bounds, strict=True)
        ],
    }


def _updates(group: Learning) -> int:
    """Critic updates of an environment step, of all seeds."""
    return group.agent.spec.seeds * group.agent.spec.utd_ratio
