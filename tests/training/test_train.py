"""Real training through the command line: what it leaves, that it repeats to the bit, and packs of seeds."""

from __future__ import annotations

import dataclasses
import logging
import os
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb
import yaml
from logged import read_wandb
from omegaconf import OmegaConf
from real_runs import (
    LITTLE_BIAS,
    SMALL,
    launch,
    log_text,
    numbers,
    only_run,
    rows,
    runs,
    same_weights,
    status,
    steps,
    train,
    train_in,
    untimed,
    weights,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from droq_exp.config import compose
from droq_exp.config.validation import to_config
from droq_exp.envs.make import make_env
from droq_exp.learner.state import CRITIC_METRICS, POLICY_METRICS
from droq_exp.loggers import RunInfo
from droq_exp.random_streams import Stream, derived_seed
from droq_exp.runs.code import FILES as FILES_OF_CODE
from droq_exp.runs.takeover import FORMAT

pytestmark = [pytest.mark.usefixtures("elsewhere"), pytest.mark.program]
FILES = ["checkpoint", "config.yaml", "eval.csv", "status.json", "train.csv", "train.log"]
RETURNS = ["return_mean", "return_std", "return_min", "return_max", "length_mean"]
BIAS = ["bias_mean", "bias_std", "normalized_bias_mean", "normalized_bias_std"]
LEARNING = [*CRITIC_METRICS, *POLICY_METRICS, "temperature"]
PENDULUM = ("env=gym", "env.id=Pendulum-v1", LITTLE_BIAS)
INVERTED = ("env=inverted_pendulum", LITTLE_BIAS)


# What a run leaves


@pytest.mark.parametrize(
    ("codebase", "task"), [("redq", PENDULUM), ("redq", INVERTED), ("ku", ("env=hopper", "eval.episodes=2"))]
)
def test_a_run_leaves_what_is_documented(codebase: str, task: tuple[str, ...]) -> None:
    assert launch(*task, f"codebase={codebase}", "training.total_steps=130") == 0
    run = only_run()
    assert run.parts[-6:-2] == ("outputs", "debug", codebase, "droq")
    assert sorted(os.listdir(run)) == FILES
    assert os.listdir(run / "checkpoint") == ["weights.pt"]

    assert {"step", *RETURNS, *BIAS, "wall_seconds"} <= set(rows(run, "eval")[0])
    assert steps(run) == steps(run, "train") == [50, 100, 130]  # every 50 steps, and the last one
    assert np.isfinite(numbers(run, "eval")).all()
    seconds = [float(row["wall_seconds"]) for row in rows(run, "eval")]
    assert all(0 < before < after for before, after in pairwise(seconds))

    # ku's first two updates follow step 50, redq's step 51: before them there is nothing to tell.
    learnt = rows(run, "train")[0 if codebase == "ku" else 1 :]
    assert [float(row["updates"]) for row in learnt] == ([2, 102, 162] if codebase == "ku" else [100, 160])
    assert all(np.isfinite(float(row[name])) for row in learnt for name in [*LEARNING, "updates_per_second"])
    if codebase == "redq":
        first = rows(run, "train")[0]
        assert {first[name] for name in LEARNING} == {""}
        assert float(first["updates"]) == float(first["updates_per_second"]) == 0


def test_training_episodes_are_counted_with_return_and_length() -> None:
    assert train("env=gym", "env.id=Counting-v0", LITTLE_BIAS, "env.kwargs={length: 20}") == 0
    first, second = rows(only_run(), "train")  # rewards are 1, 2, 3, ... over the whole of training
    returns = [sum(range(1 + 20 * episode, 21 + 20 * episode)) for episode in range(5)]
    assert [row["episodes"] for row in (first, second)] == ["2", "3"]
    assert [float(row["episode_length_mean"]) for row in (first, second)] == [20, 20]
    assert float(first["episode_return_mean"]) == np.mean(returns[:2])
    assert float(second["episode_return_mean"]) == np.mean(returns[2:])
    for row in rows(only_run(), "eval"):  # 1 + ... + 20, whatever the policy does
        assert {float(row[name]) for name in ("return_mean", "return_min", "return_max")} == {210.0}
        assert (float(row["return_std"]), float(row["length_mean"])) == (0, 20)


def test_status_and_log_tell_how_it_went(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(*INVERTED, "seed=5") == 0
    run = only_run()
    told = status(run)
    assert (told["state"], told["seed"], told["step"], told["total_steps"]) == ("finished", 5, 100, 100)
    assert told["error"] is None
    assert set(told["versions"]) == {"python", "torch", "numpy", "gymnasium", "mujoco", "droq_exp"}
    assert told["device"] == "cpu, 1 thread, native"
    assert torch.get_num_threads() == 1
    started, ended = (datetime.fromisoformat(told[key]) for key in ("started", "ended"))
    assert started.utcoffset() is not None
    assert started <= ended
    first, last = log_text(run).splitlines()
    assert f"INFO run {run.relative_to(Path('outputs').resolve())}" in first
    assert last.endswith("INFO finished at step 100")
    shown = capsys.readouterr()
    header, *progress, end, following, _ = shown.err.splitlines()
    for words in ("InvertedPendulum-v5 (obs 4, act 1)", "droq", "100 steps", "seed 5", "cpu, 1 thread, native"):
        assert words in header
    assert [line.split()[:3] for line in progress] == [["50.0%", "step", "50/100"], ["100.0%", "step", "100/100"]]
    returns = [float(row["return_mean"]) for row in rows(run, "eval")]
    assert f"droq-exp play {run.relative_to(Path.cwd())}" in following
    assert end.startswith(f"finished: return {returns[-1]:,.1f}, best {max(returns):,.1f}, in 0:")


def test_a_run_that_ends_before_the_first_update_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Here after 51 of debug=default's steps; in a sweep it is said once."""
    assert train(*INVERTED, "training.total_steps=21", "bias.enabled=false") == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "nothing will be learned" in line]
    assert "training.total_steps=21" in said
    assert "step 51" in said
    assert said in log_text(only_run())


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_applied(threads: int) -> None:
    assert train(*INVERTED, f"hardware.threads={threads}", "training.total_steps=5", "bias.enabled=false") == 0
    assert torch.get_num_threads() == threads


def test_the_kept_configuration_is_the_run_again() -> None:
    arguments = [*PENDULUM, "algo=redq", "algo.num_min=1.5", "training.total_steps=10", "seed=[3,4]"]
    assert train(*arguments) == 0
    expected = dataclasses.asdict(compose([*SMALL, *arguments])[0])
    for seed, run in zip((3, 4), runs(), strict=True):
        kept = yaml.safe_load((run / "config.yaml").read_text())
        assert kept.pop("differences")["algo.num_min"] == {"recipe": 2.0, "run": 1.5}
        assert kept.pop("identity")["algo.num_min"] == 1.5
        assert kept.pop("observation") == [["observation", 3]]
        assert (kept.pop("format"), len(kept.pop("code"))) == (FORMAT, len(FILES_OF_CODE) + 1)
        assert kept == expected | {"seed": seed}
        assert dataclasses.asdict(to_config(OmegaConf.create(kept))) == kept


def test_the_policy_can_be_rebuilt_from_weights_and_configuration_alone() -> None:
    """By matrices and vectors written out here: its evaluation is then the one in eval.csv."""
    assert train(*PENDULUM) == 0
    run = only_run()
    kept, stored = yaml.safe_load((run / "config.yaml").read_text()), weights(run)
    assert stored["step"] == 100
    env = make_env(**{key: kept["env"][key] for key in ("name", "id", "kwargs")})
    obs, _ = env.reset(seed=derived_seed(0, Stream.EVALUATION_ENV, 100, 0))
    total, done = 0.0, False
    while not done:
        hidden, flat = np.asarray(obs, dtype=np.float32), stored["actor"].numpy()
        widths = [3, *kept["algo"]["hidden_sizes"], 2]  # the last: mean and log std of one action
        for layer, (fan_in, fan_out) in enumerate(pairwise(widths)):
            weight, bias, flat = np.split(flat, [fan_in * fan_out, fan_in * fan_out + fan_out])
            hidden = hidden @ weight.reshape(fan_in, fan_out) + bias
            hidden = hidden if layer == 2 else np.maximum(hidden, 0)
        assert flat.size == 0
        obs, reward, terminated, truncated, _ = env.step(2 * np.tanh(hidden[:1]))
        total, done = total + float(reward), terminated or truncated
    assert total == pytest.approx(float(rows(run, "eval")[-1]["return_mean"]), rel=1e-4)


# The same again


@pytest.mark.parametrize("codebase", ["redq", "ku"])
def test_the_same_command_twice_is_the_same_to_the_bit(tmp_path: Path, codebase: str) -> None:
    command = ["env=hopper", f"codebase={codebase}", "eval.episodes=1", "seed=7"]
    command += [LITTLE_BIAS] if codebase == "redq" else []
    (first,), (second,) = (train_in(tmp_path / name, *command) for name in ("first", "second"))
    assert same_weights(first, second)
    for name in ("train", "eval"):
        assert untimed(first, name) == untimed(second, name)
    (other,) = train_in(tmp_path / "other", *command[:-1], "seed=8")
    assert not same_weights(first, other)


def test_measuring_changes_nothing_that_is_learnt(tmp_path: Path) -> None:
    """Neither the bias estimate nor more evaluations touch a random stream or an environment of training's."""
    (plain,) = train_in(tmp_path / "plain", "env=hopper", "bias.enabled=false", "training.total_steps=90")
    changes = [("bias.enabled=true", LITTLE_BIAS), ("eval.interval=7",), ("eval.episodes=3",)]
    for number, changed in enumerate(changes):
        (run,) = train_in(
            tmp_path / str(number), "env=hopper", "bias.enabled=false", "training.total_steps=90", *changed
        )
        assert same_weights(plain, run), changed
        assert run.parent.name != plain.parent.name
    columns = set(rows(plain, "eval")[0])
    assert {rows(plain, "eval")[0][name] for name in BIAS} == {""}
    assert set(RETURNS) <= columns


def test_compiled_updates_learn_what_eager_ones_do(tmp_path: Path) -> None:
    command = [*PENDULUM, "training.total_steps=60", "eval.interval=60"]
    (eager,) = train_in(tmp_path / "eager", *command, "hardware.updates=eager")
    (compiled,) = train_in(tmp_path / "compiled", *command, "hardware.updates=native")
    assert compiled.parts[-5:] == eager.parts[-5:]  # the same run: hardware is no part of what it is
    assert not same_weights(eager, compiled)  # another order of sums
    a, b = weights(eager), weights(compiled)
    for name in ("actor", "critic", "critic_target", "log_alpha"):
        torch.testing.assert_close(b[name], a[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(numbers(compiled, "train"), numbers(eager, "train"), rtol=1e-4)


# Packs of seeds


def test_a_pack_writes_a_complete_directory_for_every_seed() -> None:
    assert train(*INVERTED, "seed=[0,1,2,3]") == 0
    assert [run.name for run in runs()] == ["seed_0", "seed_1", "seed_2", "seed_3"]
    for seed, run in enumerate(runs()):
        assert sorted(os.listdir(run)) == FILES
        assert (status(run)["state"], status(run)["seed"]) == ("finished", seed)
        assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == seed
        assert steps(run) == [50, 100]
        assert log_text(run).count("finished at step 100") == 1
    assert len({rows(run, "eval")[1]["return_mean"] + rows(run, "eval")[1]["bias_mean"] for run in runs()}) == 4


def test_a_seed_in_a_pack_is_the_seed_alone(tmp_path: Path) -> None:
    """After 200 updates, up to rounding: a pack's batched products may sum in another order."""
    command = [*PENDULUM, "algo.utd_ratio=20", "training.total_steps=60", "eval.interval=20"]
    pack = train_in(tmp_path / "pack", *command, "seed=[0,1,2,3]")
    (alone,) = train_in(tmp_path / "alone", *command, "seed=2")
    assert rows(alone, "train")[-1]["updates"] == "200"
    assert untimed(pack[2], "train")[:2] == untimed(alone, "train")[:2]  # the random phase: to the bit
    for name in ("train", "eval"):
        np.testing.assert_allclose(numbers(pack[2], name), numbers(alone, name), rtol=1e-3, atol=1e-4)
    for name in ("actor", "critic", "critic_target", "log_alpha"):
        torch.testing.assert_close(weights(pack[2])[name], weights(alone)[name], rtol=1e-4, atol=1e-5)


# Loggers


def test_tensorboard_and_wandb_get_the_same_metrics_of_every_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody is there
    wandb.teardown()  # the environment is read when a session starts
    assert train(*INVERTED, "logger=[tensorboard,wandb]", "seed=[0,1]") == 0
    for run in runs():
        assert sorted(os.listdir(run)) == sorted([*FILES, "tensorboard", "wandb"])
        events = EventAccumulator(str(run / "tensorboard")).Reload()
        names = set(events.Tags()["scalars"])
        columns = {f"{group}/{name}" for group in ("eval", "train") for name in rows(run, group)[1]}
        assert names == columns - {"eval/step", "train/step"}
        found = read_wandb(RunInfo(run, "", "", (), {}, 0, logging.getLogger()))
        assert found["run"].run_group == "/".join(run.parts[-5:-1])
        assert found["run"].display_name == "/".join(run.parts[-5:])
        assert found["exit"] == 0
        history = {row.pop("_step"): row for row in found["history"]}
        assert set(history) == {50, 100}
        assert [row.pop("global_step") for row in history.values()] == [*history]
        assert set(history[100]) == names
        for name in sorted(names):
            logged = {step: row[name] for step, row in history.items() if name in row}
            group, column = name.split("/")
            assert logged == {int(row["step"]): float(row[column]) for row in rows(run, group) if row[column]}
            assert {event.step: event.value for event in events.Scalars(name)} == pytest.approx(logged)
