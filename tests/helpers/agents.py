"""Small agents for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from droq_exp.agent.agent import Agent
from droq_exp.codebases import Style
from droq_exp.learner.backend import EAGER, NATIVE

OBS_DIM, ACT_DIM = 6, 2
ALGORITHMS: dict[str, dict[str, Any]] = {
    "sac": {},
    "droq": {"dropout_rate": 0.01, "layer_norm": True},
    "redq": {"num_critics": 5, "num_min": 2},
    "fractional": {"num_critics": 3, "num_min": 1.5, "dropout_rate": 0.1},
    "rem": {"num_critics": 3, "target_mode": "rem"},
}


def agent_of(
    seeds: list[int], algorithm: str, style: Style, *, native: bool = False, sizes: tuple[int, int] = (OBS_DIM, ACT_DIM)
) -> Agent:
    """Eager or native; ``sizes`` of observation and action."""
    values: dict[str, Any] = {
        "name": algorithm,
        "num_critics": 2,
        "num_min": 2,
        "target_mode": "min",
        "target_passes": 1,
        "dropout_rate": 0.0,
        "layer_norm": False,
        "hidden_sizes": [32, 32],
        "utd_ratio": 20,
        "batch_size": 32,
        "gamma": 0.99,
        "tau": 0.005,
        "critic_learning_rate": 3e-4,
        "actor_learning_rate": 3e-4,
        "temperature_learning_rate": 3e-4,
        "target_entropy": -1.0,
        "learn_temperature": True,
        "initial_temperature": 1.0,
    }
    return Agent(
        **{**values, **ALGORITHMS[algorithm]},
        style=style,
        seeds=seeds,
        obs_dim=sizes[0],
        action_low=np.array([-0.4, -1.0, -1.0], dtype=np.float32)[: sizes[1]],
        action_high=np.array([0.4, 3.0, 1.0], dtype=np.float32)[: sizes[1]],
        backend=NATIVE if native else EAGER,
    )
