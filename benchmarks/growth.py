"""How the cost of an environment step's updates grows with each setting, the others as configured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.learner import build_learner, described, rounded, time_learner
from droq_exp.config import Config, compose_points
from droq_exp.training import hardware


@dataclass(frozen=True)
class Axis:
    """One setting and the values that it is measured at; ``override`` sets it to one of them."""

    title: str
    values: tuple[int, ...]
    override: Callable[[int], str]


AXES = {
    "utd": Axis("UTD ratio", (1, 2, 5, 10, 20, 40), lambda value: f"algo.utd_ratio={value}"),
    "critics": Axis("critics N", (2, 3, 5, 10, 15, 20), lambda value: f"algo.num_critics={value}"),
    "batch": Axis("batch size", (64, 128, 256, 512, 1024), lambda value: f"algo.batch_size={value}"),
    "hidden": Axis("hidden units", (128, 256, 512, 1024), lambda value: f"algo.hidden_sizes=[{value},{value}]"),
    "seeds": Axis("seeds", (1, 2, 4, 8, 16), lambda value: f"seed={list(range(value))}"),
    "replay": Axis("transitions held", (10_000, 100_000, 1_000_000), lambda value: f"training.replay_size={value}"),
}


def points(overrides: Sequence[str], names: Sequence[str]) -> dict[str, list[Config]]:
    """Compose the configurations of the named axes, one for each value. Raises ConfigError."""
    return {
        name: [config for config, _ in compose_points([[*overrides, axis.override(value)] for value in axis.values])]
        for name, axis in AXES.items()
        if name in names
    }


def benchmark_growth(config: Config, axes: dict[str, list[Config]], steps: int) -> dict[str, Any]:
    """Time the learner at each of :func:`points`, ``steps`` environment steps each, beside its own floor.

    ``config`` is what they depart from. The replay is full where its size is what grows.
    """
    machine = hardware.set_up(config)
    measured: dict[str, list[dict[str, float]]] = {}
    for name, configs in axes.items():
        measured[name] = []
        for value, point in zip(AXES[name].values, configs, strict=True):
            learning = build_learner(point, machine, value if name == "replay" else None)
            times = time_learner(learning, steps)
            measured[name].append({"value": value, **rounded(point, times)})
    return {"benchmark": "growth", **described(config, machine), "steps": steps, "axes": measured}
