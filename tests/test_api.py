"""``droq_exp.train`` and ``droq_exp.load``, as a script, a notebook or a thread calls them, and the page's examples."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forks import Python
from hydra.core.global_hydra import GlobalHydra
from real_runs import (
    LITTLE_BIAS,
    ROOT,
    SMALL,
    breaking,
    interrupt_at,
    log_text,
    rows,
    runs,
    same_weights,
    status,
    wait_for,
)
from real_runs import train as by_command

import droq_exp

pytestmark = pytest.mark.program

RUN = (*SMALL, "env=inverted_pendulum", LITTLE_BIAS)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def here(elsewhere: Path) -> Iterator[Path]:
    """The current directory; what belongs to the process is the same after each training."""
    handlers, path = [signal.getsignal(number) for number in SIGNALS], [*sys.path]
    yield elsewhere
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert sys.path == path
    assert Path.cwd() == elsewhere


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> droq_exp.Run:
    with contextlib.chdir(tmp_path_factory.mktemp("trained")):
        return droq_exp.train(*SMALL, "env=walker2d", LITTLE_BIAS, "seed=3")[0]


# train


def test_seeds_in_their_order_and_the_same_as_by_the_command(here: Path, tmp_path: Path) -> None:
    first, second = droq_exp.train(*RUN, "seed=[1,0]", "training.total_steps=70")
    assert (first.seed, second.seed) == (1, 0)
    assert [second.directory, first.directory] == runs()
    for done in (first, second):
        assert (done.state, done.error) == ("finished", None)
        assert done.evaluations["step"].tolist() == done.training["step"].tolist() == [50, 70]
        assert (
            done.evaluations["return_mean"].iloc[-1]
            == done.last_return
            == float(rows(done.directory, "eval")[-1]["return_mean"])
        )
    with contextlib.chdir(tmp_path):
        assert by_command("env=inverted_pendulum", LITTLE_BIAS, "seed=[1,0]", "training.total_steps=70") == 0
    for ours, theirs in zip(runs(), runs(tmp_path), strict=True):
        assert same_weights(ours, theirs)


def test_a_finished_run_is_returned_as_it_is() -> None:
    (first,) = droq_exp.train(*RUN)
    (again,) = droq_exp.train(*RUN)
    assert again == first
    assert status(first.directory)["attempts"] == 1


def test_a_failed_seed_is_in_the_result() -> None:
    broken, whole = droq_exp.train(*SMALL, *breaking(seed=0, at=60, how="raise"), "seed=[0,1]")
    assert (broken.state, broken.error) == ("failed", "RuntimeError: the simulator broke")
    assert broken.evaluations["step"].tolist() == [50]
    assert (whole.state, whole.error) == ("finished", None)


def test_a_seed_that_fails_at_once_has_no_evaluations() -> None:
    (broken,) = droq_exp.train(*SMALL, *breaking(seed=0, at=0, how="raise"))
    assert (broken.state, broken.last_return) == ("failed", None)
    assert broken.evaluations.empty


def test_what_ends_all_seeds_at_once_is_in_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = droq_exp.train(*RUN, "seed=0")

    def too_large(*_: object) -> None:
        raise MemoryError("no room\nfor the replay buffer")

    monkeypatch.setattr("droq_exp.agent.agent.replay_of", too_large)
    finished, *failed = droq_exp.train(*RUN, "seed=[0,1,2]")
    assert finished == before
    assert {(each.state, each.error) for each in failed} == {("failed", "MemoryError: no room for the replay buffer")}
    assert "too_large" in log_text(failed[0].directory)


def test_what_comes_before_any_run_has_begun_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("droq_exp.training.train.RunLock.acquire", full)
    with pytest.raises(droq_exp.ConfigError, match=r"^output_dir: .* cannot be written: the disk is full$"):
        droq_exp.train(*RUN)
    assert os.listdir() == []


def test_a_run_that_another_process_trains() -> None:
    from droq_exp.runs.lock import RunLock

    (done,) = droq_exp.train(*RUN, "training.total_steps=5", "checkpoint.keep_replay=true")
    with RunLock.acquire(done.directory), pytest.raises(droq_exp.HeldError, match="is in use by"):
        droq_exp.train(*RUN)


@pytest.mark.parametrize(
    ("overrides", "key", "words"),
    [
        (["algo.dropout_rat=0.1"], "algo.dropout_rat", "did you mean algo.dropout_rate?"),
        (["seed=0,1"], "seed", "python launch.py -m runs one after the other (or seed=[0,1], side by side"),
        (["algo=sac,droq"], "algo", "python launch.py -m runs one after the other"),
        (["experiment=paper_redq"], "experiment", "python launch.py -m runs it, algo=<value>"),
        (["hardware=cpu_parallel"], "hardware", "these runs are jobs, which python launch.py submits"),
        (["hardware=slurm_cpu"], "hardware", "these runs are jobs, which python launch.py submits"),
        (["output_dir=/dev/null"], "output_dir", "/dev/null is not a directory"),
        (["env=gym", "env.id=Pendulom-v1"], "env.id", "did you mean Pendulum-v1?"),
        (["hardware=cpu", "hardware.device=cuda:77"], "hardware.device", "cuda:77"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_key(here: Path, overrides: list[str], key: str, words: str) -> None:
    with pytest.raises(droq_exp.ConfigError) as refusal:
        droq_exp.train(*overrides)
    assert refusal.value.key == key
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert os.listdir(here) == []


def test_a_list_of_overrides_is_refused_with_the_way_to_pass_it() -> None:
    with pytest.raises(droq_exp.ConfigError, match=r"each an argument of its own: train\(\*overrides\)"):
        droq_exp.train(["algo=droq"])  # type: ignore[arg-type]


def test_choices_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\ntraining: {total_steps: 5}\n")
    (done,) = droq_exp.train(*RUN[1:], "experiment=mine", config_dir=tmp_path / "conf")
    assert done.directory.parts[-5] == "mine"
    assert status(done.directory)["step"] == 5
    with pytest.raises(droq_exp.ConfigError, match="--config-dir: nowhere is not a directory"):
        droq_exp.train(*RUN, config_dir="nowhere")


OWN = """
import gymnasium
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv
from droq_exp.agent import Agent
class MyAgent(Agent): ...
gymnasium.register("Mine-v0", InvertedPendulumEnv, max_episode_steps=20)
"""


def test_own_parts_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "own"
    place.mkdir()
    (place / "my_parts.py").write_text(OWN)
    overrides = [*SMALL, "env=gym", "env.id=my_parts:Mine-v0", "algo._target_=my_parts.MyAgent", LITTLE_BIAS]
    with contextlib.chdir(place):
        (done,) = droq_exp.train(*overrides, "training.total_steps=5")
    with pytest.raises(droq_exp.ConfigError, match="--trust my_parts"):
        droq_exp.load(done.directory)
    assert type(droq_exp.load(str(done.directory), trust=["my_parts"]).agent).__name__ == "MyAgent"


def test_torch_and_hydra_are_as_before(here: Path) -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        droq_exp.train(*RUN, "hardware.threads=2", "training.total_steps=5")
        assert torch.get_num_threads() == 1
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert not GlobalHydra.instance().is_initialized()


def test_within_hydra_and_after_it() -> None:
    import hydra

    with hydra.initialize_config_module("hydra.conf", version_base="1.3"):
        before = GlobalHydra.instance().hydra
        droq_exp.train(*RUN, "training.total_steps=5")
        assert GlobalHydra.instance().hydra is before


# Signals and threads


def test_ctrl_c_saves_and_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(70, patch, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            droq_exp.train(*RUN)
    (directory,) = runs()
    assert (status(directory)["state"], status(directory)["step"]) == ("interrupted", 70)
    (done,) = droq_exp.train(*RUN)
    assert (done.state, status(directory)["attempts"]) == ("finished", 2)
    assert "continuing from the checkpoint of step 70" in log_text(directory)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ones_own_handler_is_called_once_everything_is_saved(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    before = signal.signal(number, lambda *_: told.append(status(runs()[0])["state"]))
    try:
        interrupt_at(70, monkeypatch, number)
        (stopped,) = droq_exp.train(*RUN)
    finally:
        signal.signal(number, before)
    assert told == [stopped.state] == ["interrupted"]
    assert stopped.error == f"interrupted by {number.name}"
    assert stopped.evaluations["step"].tolist() == [50]


def test_sigterm_ends_a_process_that_does_not_handle_it_once_everything_is_saved(here: Path) -> None:
    script = f"import droq_exp; droq_exp.train(*{[*RUN, 'training.total_steps=1000000']}); print('not reached')"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = Python([sys.executable, "-c", script], cwd=here, env=environment, stdout=subprocess.PIPE)
    wait_for(lambda: any((run / "eval.csv").exists() for run in runs()), process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    (directory,) = runs()
    assert (process.returncode, status(directory)["state"]) == (-signal.SIGTERM, "interrupted")
    assert list(directory.glob("checkpoint/state_*.pt"))
    assert "not reached" not in out


def test_a_thread_handles_no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a handler was installed")

    monkeypatch.setattr(signal, "signal", never)
    with ThreadPoolExecutor() as threads:
        (done,) = threads.submit(droq_exp.train, *RUN, "training.total_steps=5").result()
    assert done.state == "finished"


def test_trainings_in_threads_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    from droq_exp.training.loop import TrainingLoop

    at_work, most, run = 0, 0, TrainingLoop.run

    def watched(self: TrainingLoop, *arguments: object) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        run(self, *arguments)  # type: ignore[arg-type]
        at_work -= 1

    monkeypatch.setattr(TrainingLoop, "run", watched)
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(droq_exp.train, *RUN, f"seed={seed}", "training.total_steps=60") for seed in range(3)]
        done = [each.result()[0] for each in asked]
    assert [(each.seed, each.state) for each in done] == [(seed, "finished") for seed in range(3)]
    assert most == 1


# load


def test_the_actions_are_those_of_the_evaluations_to_the_bit(run: droq_exp.Run) -> None:
    policy = droq_exp.load(run.directory)
    episodes = list(policy.episodes([policy.make_env()], 5, 0))
    obs, expected = (np.concatenate([getattr(each, name) for each in episodes]) for name in ("obs", "action"))
    assert len(obs) % 16 != 0 < len(obs) // 16
    together = policy.predict(obs)
    assert (together.shape, together.dtype) == (expected.shape, np.float32)
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(np.stack([policy.predict(each) for each in obs]), expected)
    np.testing.assert_array_equal(policy.predict(obs[:3].tolist()), expected[:3])
    assert policy.predict(obs[:0]).shape == (0, 6)
    assert (np.abs(together) <= 1).all()


def test_sampled_actions_follow_from_the_generator(run: droq_exp.Run) -> None:
    policy, again = droq_exp.load(run.directory), droq_exp.load(run.directory)
    obs = np.random.default_rng(0).standard_normal((20, 17))
    by_own = policy.predict(obs, deterministic=False)
    one_by_one = [again.predict(each, deterministic=False) for each in obs]
    np.testing.assert_array_equal(by_own, one_by_one)
    assert (by_own != policy.predict(obs, deterministic=False)).all()
    assert (by_own != policy.predict(obs)).all()
    first, second = (policy.predict(obs, deterministic=False, rng=np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("shape", [(), (16,), (18,), (17, 1), (2, 16), (1, 2, 17)])
def test_observations_of_another_shape(run: droq_exp.Run, shape: tuple[int, ...]) -> None:
    words = rf"observations of Walker2d-v5 are \[17\], batches of them \[n, 17\]; these are {re.escape(str([*shape]))}"
    with pytest.raises(ValueError, match=words):
        droq_exp.load(run.directory).predict(np.zeros(shape))


# The package


def test_torch_is_not_imported_with_the_package() -> None:
    code = (
        "import sys, droq_exp; droq_exp.train; droq_exp.Run; droq_exp.ConfigError; assert 'load' in dir(droq_exp); "
        "print(sorted({'torch', 'gymnasium', 'pandas', 'wandb', 'mujoco'} & set(sys.modules)), flush=True); "
        "droq_exp.load; print('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout.split("\n"), done.stderr) == (["[]", "True", ""], "")


def test_what_the_package_has_is_what_its_stub_says() -> None:
    told = ast.parse((ROOT / "droq_exp" / "__init__.pyi").read_text()).body
    names = {item.names[0].name for item in told if isinstance(item, ast.ImportFrom)}
    assert names | {"__version__"} == set(droq_exp.__all__)
    for name in droq_exp.__all__:
        assert getattr(droq_exp, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        droq_exp.trian  # type: ignore[attr-defined]  # noqa: B018


# The page


def test_the_examples_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """All in one process, one after another, but at the size of the other tests' runs."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    size = ", ".join(map(repr, (*SMALL, LITTLE_BIAS, "training.total_steps=100")))
    code, shortened = re.subn('"training.total_steps=10000"', size, "\n".join(blocks))
    assert shortened == 2
    names: dict[str, Any] = {}
    exec(compile(code, "docs/api.md", "exec"), names)
    out = capsys.readouterr().out
    assert [line.split()[-3:-2] for line in out.splitlines() if " finished " in line] == [["finished"]] * 2
    assert "algo.dropout_rat: unknown key; did you mean algo.dropout_rate? allowed in algo: " in out
    assert names["actions"].shape == (2, 3)
    assert names["run"].state == "finished"
