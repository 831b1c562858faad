"""The benchmark: its operation count by hand, and its command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from droq_exp.benchmark import learner_flops
from droq_exp.learner.spec import LearnerSpec


def test_floating_point_operations_by_hand() -> None:
    # obs 3, act 1, hidden 5 and 7, batch 2, N = 2, a target of 2 passes, UTD 4; [2, i] times [i, o] is 4 i o.
    spec = LearnerSpec(seeds=3, obs_dim=3, act_dim=1, hidden_sizes=(5, 7), utd_ratio=4, batch_size=2)
    critic_pass, critic_inner, actor_pass = 4 * (4 * 5 + 5 * 7), 4 * (5 * 7), 4 * (3 * 5 + 5 * 7 + 7 * 2)
    online = 2 * (2 * critic_pass + critic_inner)  # forward and weight gradients, input gradient of the second layer
    update = online + 2 * critic_pass + actor_pass  # the target's passes, the next action
    policy = 3 * actor_pass + 2 * 2 * critic_pass
    assert learner_flops(spec, policy_updates=1) == 3 * (4 * update + policy)


def test_the_command_ends_with_a_line_of_json(tmp_path: Path) -> None:
    small = ["hardware.compile=false", "hardware.threads=1", "algo.hidden_sizes=[16,16]", "algo.batch_size=16"]
    command = [sys.executable, "-m", "droq_exp.benchmark", "learner", "algo=redq", "env=hopper", "--steps", "3", *small]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["algo"] == "redq"
    assert result["env"] == "Hopper-v5"
    assert result["ms_per_env_step"] > 0
    assert result["floor_ms"] > 0
    assert abs(result["ratio"] - result["ms_per_env_step"] / result["floor_ms"]) < 0.01 * result["ratio"]
    assert not list(tmp_path.iterdir())


def test_a_wrong_override_is_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "droq_exp.benchmark", "learner", "algo.utd_ratio=0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: algo.utd_ratio")
    assert len(done.stderr.splitlines()) == 1
