"""MuJoCo moves the papers' bodies as the old MuJoCo did that the papers used."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
from omegaconf import OmegaConf

from droq_exp.envs.make import make_env

from .record import RECORDED, TASKS, state

CONF = Path(__file__).parents[2] / "conf" / "env"


@pytest.mark.parametrize("task", TASKS)
def test_a_step_ends_where_it_ended_under_the_old_mujoco(task):
    recorded = np.load(RECORDED)
    values = OmegaConf.load(CONF / f"{task}.yaml")
    env = make_env(values.name, values.id, values.get("kwargs", {}))
    simulation = env.unwrapped
    env.reset(seed=0)
    for before, action, after in zip(
        *(recorded[f"{task}_{key}"] for key in ("before", "action", "after")), strict=True
    ):
        mujoco.mj_resetData(simulation.model, simulation.data)
        simulation.set_state(before[: simulation.model.nq], before[simulation.model.nq :])
        env.step(action)
        # Velocities reach tens of m/s and rad/s; since MuJoCo 3.5 they differ by tenths where bodies touch the floor.
        np.testing.assert_allclose(state(simulation.data), after, rtol=1e-6, atol=1e-6)
    env.close()


@pytest.mark.parametrize("task", [task for task in TASKS if task != "inverted_pendulum"])
def test_recorded_steps_touch_the_floor(task):
    recorded = np.load(RECORDED)
    assert str(recorded["mujoco"]) == "2.3.1"
    assert (recorded[f"{task}_contacts"] > 0).sum() >= 5
