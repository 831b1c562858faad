"""The example of an algorithm in a package of its own: its mathematics by hand, and all that is done with its runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import forks
import numpy as np
import pytest
import torch
from real_runs import LITTLE_BIAS, ROOT, SMALL, log_text, numbers, only_run, rows, runs, same_weights, status, wait_for

import droq_exp
from droq_exp.learner.spec import LearnerSpec

EXAMPLE = ROOT / "examples" / "quantile_critic"
CONF = ("--config-dir", str(EXAMPLE / "conf"))
TINY = ("algo=quantile_critic", "env=inverted_pendulum", LITTLE_BIAS, "algo.hidden_sizes=[16,16]", "algo.batch_size=32")
PATHS = os.pathsep.join(map(str, (ROOT, EXAMPLE)))
ENVIRONMENT = os.environ | {"PYTHONPATH": PATHS, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return forks.run([sys.executable, str(ROOT / "launch.py"), *CONF, *arguments], env=ENVIRONMENT)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from droq_exp.cli.app import main; main()"
    return forks.run([sys.executable, "-c", program, *arguments], env=ENVIRONMENT)


def test_target_and_loss_by_hand() -> None:
    from quantile_critic import TruncatedQuantiles

    objective, spec = TruncatedQuantiles(dropped=1), LearnerSpec(seeds=1, obs_dim=1, act_dim=1)
    outputs = torch.tensor([[[[4.0, 1.0]], [[2.0, 8.0]]]])  # [S=1, K=2, B=1, M=2]
    assert objective.value(outputs).tolist() == [[[2.5], [5.0]]]
    target = objective.target(outputs, torch.tensor([[10.0]]), torch.tensor([[0.5]]), None, None, spec)
    assert target.tolist() == [[[10.5, 11.0]]]  # of 1, 2, 4 and 8 the two smallest
    # Quantiles 0 and 2 at levels 1/4 and 3/4, atoms 0 and 3: errors 0, 3 and -2, 1; Huber 0, 2.5 and 1.5, 0.5;
    # weights 1/4, 1/4 and 1/4 (from below), 3/4.
    loss = objective.loss(torch.tensor([[[[0.0, 2.0]]]]), torch.tensor([[[0.0, 3.0]]]), spec)
    torch.testing.assert_close(loss, torch.tensor([[[(0 + 2.5 / 4 + 1.5 / 4 + 0.5 * 3 / 4) / 4]]]))


@pytest.mark.program
def test_it_is_trained_killed_resumed_swept_played_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = (*SMALL, *TINY, "checkpoint.interval=20")
    (whole,) = droq_exp.train(*given, "output_dir=whole", config_dir=EXAMPLE / "conf")
    assert whole.state == "finished"

    process = forks.Python(
        [sys.executable, str(ROOT / "launch.py"), *CONF, *given],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: list(tmp_path.glob("outputs/**/state_000000060.pt")), process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    run = only_run()
    assert status(run)["state"] == "running"
    done = launch(*given)
    assert done.returncode == 0, done.stderr
    assert "updates: eager, not this project's C++: algo.critic is quantile_critic.QuantileCritic" in done.stderr
    assert "continuing from the checkpoint of step" in log_text(run)
    assert same_weights(run, whole.directory)
    np.testing.assert_array_equal(numbers(run, "eval"), numbers(whole.directory, "eval"))
    assert launch(*given).stdout.startswith("already finished at step 100")
    assert {row["q_mean"] for row in rows(run, "train")} != {""}

    swept = launch("-m", *SMALL, *TINY[1:], "algo=quantile_critic,droq", "seed=1,2")
    assert swept.returncode == 0, swept.stderr
    assert sorted(path.parts[-3] for path in runs(tmp_path)) == ["droq"] * 2 + ["quantile_critic"] * 3

    refused = command("evaluate", str(run), "--episodes", "1")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "quantile_critic.QuantileCritic is not one of this project's; --trust quantile_critic" in refused.stderr
    played = command("evaluate", str(run), "--episodes", "1", "--trust", "quantile_critic")
    assert played.returncode == 0, played.stderr
    assert "return" in played.stdout
    policy = droq_exp.load(run, trust=["quantile_critic"])
    assert policy.predict(np.zeros(4)).shape == (1,)
    reported = command("report", "outputs", "--output", "report")
    assert reported.returncode == 0, reported.stderr
    assert "quantile_critic" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.slow
def test_it_learns_to_hold_the_pendulum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer critics and more updates than the paper's: minutes on one core instead of an hour."""
    monkeypatch.chdir(tmp_path)
    (run,) = droq_exp.train(
        *("algo=quantile_critic", "env=inverted_pendulum", "bias.enabled=false", "training.start_steps=1000"),
        *("training.total_steps=6000", "hardware.device=cpu", "hardware.threads=1", "eval.interval=500"),
        *("eval.episodes=3", "algo.num_critics=2", "algo.num_min=2", "algo.utd_ratio=10", "algo.hidden_sizes=[64,64]"),
        config_dir=EXAMPLE / "conf",
    )
    assert run.evaluations["return_mean"].max() == 1000
