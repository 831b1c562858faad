"""Record what one environment step of the tasks does under the installed MuJoCo: old_mujoco.npz beside this file.

The numbers kept there were made in a virtual environment of Python 3.11 with
``pip install mujoco==2.3.1.post1 gymnasium==1.4.0 numpy`` and ``python tests/physics/record.py``.
"""

import importlib.util
from pathlib import Path

import mujoco
import numpy as np

RECORDED = Path(__file__).with_name("old_mujoco.npz")
# Model file and simulator steps of an environment step, by the name of the configuration.
TASKS = {
    "hopper": ("hopper.xml", 4),
    "walker2d": ("walker2d.xml", 4),
    "ant": ("ant.xml", 5),
    "humanoid": ("humanoid.xml", 5),
    "halfcheetah": ("half_cheetah.xml", 5),
    "inverted_pendulum": ("inverted_pendulum.xml", 2),
}
EPISODES = 12


def record() -> dict[str, np.ndarray]:
    """One step an episode of each task: state before and after, action, contacts summed over the simulator steps.

    A state is qpos and qvel. Each episode starts near the model's own pose, takes random actions, and gives the last
    of its 60 steps, when bodies lie on the floor.
    """
    assets = Path(importlib.util.find_spec("gymnasium").submodule_search_locations[0]) / "envs" / "mujoco" / "assets"
    steps = {}
    for task, (file, frame_skip) in TASKS.items():
        model = mujoco.MjModel.from_xml_path(str(assets / file))
        data = mujoco.MjData(model)
        rng = np.random.default_rng(0)
        for key in ("before", "action", "after", "contacts"):
            steps[f"{task}_{key}"] = []
        for _ in range(EPISODES):
            mujoco.mj_resetData(model, data)
            data.qvel[:] = rng.uniform(-0.1, 0.1, model.nv)
            for _ in range(60):
                before = state(data)
                action = rng.uniform(*model.actuator_ctrlrange.T)
                # From a state alone, as the test does it: the solver starts from its last answer otherwise.
                mujoco.mj_resetData(model, data)
                data.qpos[:], data.qvel[:] = before[: model.nq], before[model.nq :]
                data.ctrl[:] = action
                contacts = 0
                for _ in range(frame_skip):
                    mujoco.mj_step(model, data)
                    contacts += data.ncon
            for key, value in (
                ("before", before),
                ("action", action),
                ("after", state(data)),
                ("contacts", contacts),
            ):
                steps[f"{task}_{key}"].append(value)
    return {name: np.array(values) for name, values in steps.items()}


def state(data: mujoco.MjData) -> np.ndarray:
    """The simulator's state: qpos and qvel in one vector."""
    return np.concatenate([data.qpos, data.qvel])


if __name__ == "__main__":
    np.savez_compressed(RECORDED, mujoco=mujoco.__version__, **record())
