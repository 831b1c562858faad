"""Small agents for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from droq_exp.agent.agent import Agent
from droq_exp.codebases import Codebase
from droq_exp.config.schema import AlgoConfig
from droq_exp.learner.backend import EAGER, NATIVE
from droq_exp.learner.spec import LearnerSpec

OBS_DIM, ACT_DIM = 6, 2
ALGORITHMS: dict[str, dict[str, Any]] = {
    "sac": {},
    "droq": {"dropout_rate": 0.01, "layer_norm": True},
    "redq": {"num_critics": 5, "num_min": 2},
    "fractional": {"num_critics": 3, "num_min": 1.5, "dropout_rate": 0.1},
    "rem": {"num_critics": 3, "target_mode": "rem"},
}


def agent_of(
    seeds: list[int],
    algorithm: str,
    codebase: Codebase,
    *,
    native: bool = False,
    sizes: tuple[int, int] = (OBS_DIM, ACT_DIM),
) -> Agent:
    """Eager or native; ``sizes`` of observation and action."""
    low, high = np.array([-0.4, -1.0, -1.0], dtype=np.float32), np.array([0.4, 3.0, 1.0], dtype=np.float32)
    values = {"num_critics": 2, "num_min": 2, "dropout_rate": 0.0, "layer_norm": False, **ALGORITHMS[algorithm]}
    algo = AlgoConfig(**values, hidden_sizes=[32, 32], batch_size=32, target_entropy=-1.0)
    return Agent(
        LearnerSpec.of(algo, codebase, seeds=len(seeds), obs_dim=sizes[0], act_dim=sizes[1], bf16=False),
        name=algorithm,
        codebase=codebase,
        seeds=seeds,
        action_low=low[: sizes[1]],
        action_high=high[: sizes[1]],
        backend=NATIVE if native else EAGER,
    )
