"""What a run is, where it goes, and what its directory says while it runs and afterwards."""

from __future__ import annotations

import json
import logging
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from droq_exp.config import schema
from droq_exp.loggers import Loggers
from droq_exp.runs.directory import RunDirectory, differences, identity, run_directory
from droq_exp.runs.lock import RunLock


def make_config(output_dir: Path | str = "outputs", **changes: Any) -> schema.Config:
    """Build DroQ on Hopper; ``changes`` are such as algo__gamma=0.9."""
    config = schema.Config(
        algo=schema.AlgoConfig(
            name="droq", num_critics=2, num_min=2, dropout_rate=0.01, layer_norm=True, target_entropy=-1.0
        ),
        env=schema.EnvConfig(name="hopper", id="Hopper-v5", kwargs={"healthy_reward": 1.0}),
        codebase=schema.RedqCodebaseConfig(first_alpha=0.2),
        bias=schema.RedqBiasConfig(),
        training=schema.TrainingConfig(total_steps=100),
        eval=schema.EvalConfig(episodes=1),
        hardware=schema.HardwareConfig(),
        logger={"csv": asdict(schema.CsvConfig())},
        seed=[0, 1],
        experiment_name="runs",
        output_dir=str(output_dir),
    )
    for name, value in changes.items():
        *path, last = name.split("__")
        target: Any = config
        for part in path:
            target = getattr(target, part)
        setattr(target, last, value)
    return config


def open_run(directory: Path, seed: int = 0, **changes: Any) -> RunDirectory:
    """As training does it, from step 0; but the lock is given back at once."""
    config, recipe = make_config(directory, **changes), make_config(directory)
    place = run_directory(config, recipe, seed)
    place.mkdir(parents=True, exist_ok=True)
    with RunLock.acquire(place):
        run = RunDirectory.open(config, recipe, seed, device="cpu", overrides=[f"seed={seed}"])
        run.begin(0)
    return run


def status_of(run: RunDirectory) -> dict[str, Any]:
    return json.loads((run.directory / "status.json").read_text())


# Identity


def test_a_recipe_as_it_is_has_no_hash() -> None:
    assert run_directory(make_config(), make_config(), 3) == Path("outputs/runs/redq/droq/hopper/seed_3")


@pytest.mark.parametrize(
    ("change", "value", "key"),
    [
        ("algo__gamma", 0.98, "algo.gamma"),
        ("algo__hidden_sizes", [256, 128], "algo.hidden_sizes"),
        ("algo__layer_norm", False, "algo.layer_norm"),
        ("algo__target_entropy", None, "algo.target_entropy"),
        ("algo___target_", "elsewhere.Agent", "algo._target_"),
        ("env__kwargs", {"healthy_reward": 2.0}, "env.kwargs.healthy_reward"),
        ("env__kwargs", {}, "env.kwargs.healthy_reward"),
        ("codebase__policy_update_delay", 1, "codebase.policy_update_delay"),
        ("training__start_steps", 10, "training.start_steps"),
        ("training__replay_size", 10, "training.replay_size"),
        ("eval__interval", 10, "eval.interval"),
        ("bias__enabled", False, "bias.enabled"),
        ("bias__temperature", 0.2, "bias.temperature"),
        ("hardware__precision", "tf32", "hardware.precision"),
    ],
)
def test_what_a_run_is_makes_a_variant(change: str, value: Any, key: str) -> None:
    config, recipe = make_config(**{change: value}), make_config()
    assert list(differences(config, recipe)) == [key]
    folder = run_directory(config, recipe, 0).parent.name
    assert folder.startswith("hopper-")
    assert len(folder) == len("hopper-") + 8


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("training__total_steps", 1000),
        ("hardware__device", "cuda"),
        ("hardware__threads", 1),
        ("hardware__compile", False),
        ("hardware__detect_anomaly", True),
        ("logger", {"wandb": asdict(schema.WandbConfig())}),
        ("seed", 7),
    ],
)
def test_what_a_run_is_not_makes_none(change: str, value: Any) -> None:
    assert run_directory(make_config(**{change: value}), make_config(), 0) == run_directory(
        make_config(), make_config(), 0
    )


def test_spelling_of_numbers_and_order_of_keys_do_not_matter() -> None:
    as_int = make_config(algo__num_critics=5, algo__num_min=2, env__kwargs={"a": 1, "b": {"c": 2.0}})
    as_float = make_config(algo__num_min=2.0, algo__num_critics=5, env__kwargs={"b": {"c": 2}, "a": 1.0})
    assert not differences(as_int, as_float)
    assert run_directory(as_int, make_config(), 0) == run_directory(as_float, make_config(), 0)


def test_truth_values_are_no_numbers() -> None:
    config, recipe = make_config(env__kwargs={"flag": True}), make_config(env__kwargs={"flag": 1})
    assert differences(config, recipe) == {"env.kwargs.flag": (1, True)}


def test_hashes_stay_what_they_were() -> None:
    # A changed value here would orphan everybody's existing variants.
    config = make_config(algo__gamma=0.9)
    assert run_directory(config, make_config(), 0).parent.name == "hopper-1890c346"
    config = make_config(algo__hidden_sizes=[64, 64.0], env__kwargs={})
    assert run_directory(config, make_config(), 0).parent.name == "hopper-be1832c0"


def test_a_variant_is_named_by_its_departures_only() -> None:
    # A recipe that changes something else leaves the variants of its own users alone.
    config, recipe = make_config(algo__gamma=0.9, algo__tau=0.1), make_config(algo__tau=0.1)
    assert run_directory(config, recipe, 0) == run_directory(make_config(algo__gamma=0.9), make_config(), 0)


@pytest.mark.parametrize(
    ("task", "folder"),
    [("Pendulum-v1", "Pendulum-v1"), ("ALE/Pong-v5", "ALE+Pong-v5"), ("my.module:A-v0", "my.module=A-v0")],
)
def test_gymnasium_ids_become_one_folder(task: str, folder: str) -> None:
    config = make_config(env__name="gym", env__id=task)
    assert run_directory(config, config, 0) == Path(f"outputs/runs/redq/droq/{folder}/seed_0")


def test_identity_is_flat_and_leaves_out_what_is_ours() -> None:
    values = identity(make_config())
    assert values["algo.gamma"] == 0.99
    assert values["env.id"] == "Hopper-v5"
    assert not [key for key in values if "_target_" in key or "total_steps" in key]


# Directory


def test_configuration_of_one_seed_is_kept_with_its_departures(tmp_path: Path) -> None:
    run = open_run(tmp_path, seed=1, algo__gamma=0.9)
    kept = yaml.safe_load((run.directory / "config.yaml").read_text())
    assert kept["seed"] == 1
    assert kept["algo"]["gamma"] == 0.9
    assert kept["env"]["kwargs"] == {"healthy_reward": 1.0}
    assert kept["differences"] == {"algo.gamma": {"recipe": 0.99, "run": 0.9}}
    assert yaml.safe_load((open_run(tmp_path).directory / "config.yaml").read_text())["differences"] == {}


def test_status_of_a_run_from_start_to_end(tmp_path: Path) -> None:
    run = open_run(tmp_path, seed=1)
    start = status_of(run)
    assert (start["state"], start["seed"], start["step"], start["total_steps"]) == ("running", 1, 0, 100)
    assert start["device"] == "cpu"
    assert start["ended"] is None
    assert start["error"] is None
    assert start["started"].endswith("+00:00")
    assert RunDirectory.finished_steps(run.directory) is None
    run.update(50)
    assert status_of(run) == {**start, "step": 50}
    run.finish(100)
    end = status_of(run)
    assert (end["state"], end["step"], end["error"]) == ("finished", 100, None)
    assert end["ended"] >= end["started"]
    assert RunDirectory.finished_steps(run.directory) == 100


def test_nothing_finished_where_nothing_is(tmp_path: Path) -> None:
    assert RunDirectory.finished_steps(tmp_path / "missing") is None


def test_a_damaged_status_is_named(tmp_path: Path) -> None:
    for content in ("{", '{"state": "finishee", "step": 1}', '{"stape": "finished", "step": 1}', '{"state": "failed"}'):
        (tmp_path / "status.json").write_text(content)
        with pytest.raises(ValueError, match=r"status\.json is damaged"):
            RunDirectory.finished_steps(tmp_path)


def test_an_interruption_names_its_signal(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.interrupt(42, "SIGTERM")
    status = status_of(run)
    assert (status["state"], status["step"]) == ("interrupted", 42)
    assert "SIGTERM" in status["error"]["summary"]
    assert "interrupted by SIGTERM at step 42" in (run.directory / "train.log").read_text()


def test_an_exception_is_in_log_and_status_and_its_line_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_run(tmp_path, seed=1)
    try:
        raise ArithmeticError("critic_loss is nan\n at step 7")
    except ArithmeticError as error:
        run.fail(7, error)
    status = status_of(run)
    assert (status["state"], status["step"]) == ("failed", 7)
    assert status["error"]["summary"] == "ArithmeticError: critic_loss is nan at step 7"
    assert "test_directory.py" in status["error"]["traceback"]
    log = (run.directory / "train.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert "failed at step 7: ArithmeticError" in log
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("seed_1: failed at step 7: ArithmeticError: critic_loss is nan at step 7")
    assert str(run.directory / "train.log") in line


def test_a_failure_without_exception_is_a_line(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.fail(3, "critic_loss is not finite")
    assert status_of(run)["error"] == {"summary": "critic_loss is not finite", "traceback": None}


def test_the_first_end_stands(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.fail(3, "broken")
    run.finish(100)
    run.interrupt(100, "SIGINT")
    assert status_of(run)["state"] == "failed"
    with pytest.raises(RuntimeError, match="has ended as failed"):
        run.update(4)


def test_starting_over_replaces_results_and_continues_the_log(tmp_path: Path) -> None:
    first = open_run(tmp_path)
    Loggers(make_config().logger, first.info).log(10, {"eval/return_mean": 1.0, "train/critic_loss": 1.0})
    (first.directory / "checkpoint").mkdir()
    (first.directory / "checkpoint" / "file").write_text("old")
    (first.directory / ".eval.csv.0123.tmp").write_text("left by a killed process")
    first.log.info("the first attempt")
    first.interrupt(10, "SIGTERM")
    second = open_run(tmp_path, training__total_steps=200)
    assert second.directory == first.directory
    Loggers(make_config().logger, second.info)
    names = [".reserve.tmp", "config.yaml", "status.json", "train.log"]
    assert sorted(path.name for path in second.directory.iterdir()) == names
    assert (status_of(second)["state"], status_of(second)["step"], status_of(second)["total_steps"]) == (
        "running",
        0,
        200,
    )
    assert status_of(second)["attempts"] == 2
    log = (second.directory / "train.log").read_text()
    assert log.index("the first attempt") < log.index("-" * 80) < log.index("the last was interrupted at step 10")


def test_a_finished_run_is_not_finished_while_its_results_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(tmp_path)
    (run.directory / "eval.csv").write_text("step\n")
    run.finish(100)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("droq_exp.runs.directory.discard", killed)
    with pytest.raises(KeyboardInterrupt):
        open_run(tmp_path, training__total_steps=200)
    assert (run.directory / "eval.csv").exists()
    assert RunDirectory.finished_steps(run.directory) is None


def test_seeds_side_by_side_keep_their_logs_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = [open_run(tmp_path, seed) for seed in (0, 1)]
    with caplog.at_level(logging.DEBUG):
        for run in runs:
            run.log.info("words of seed %d", run.seed)
            run.finish(100)
    assert not caplog.records  # nothing reaches the root logger, where Hydra or a user may have handlers
    logs = [(run.directory / "train.log").read_text() for run in runs]
    assert ["words of seed 0" in log for log in logs] == [True, False]
    assert ["words of seed 1" in log for log in logs] == [False, True]


def test_what_loggers_are_told(tmp_path: Path) -> None:
    info = open_run(tmp_path, seed=1, algo__gamma=0.9).info
    assert info.group == "runs/redq/droq/hopper-1890c346"  # variants are groups of their own
    assert info.name == "runs/redq/droq/hopper-1890c346/seed_1"
    assert info.tags == ("runs", "redq", "droq", "hopper")
    assert info.config["seed"] == 1
    assert info.config["algo"]["gamma"] == 0.9


def test_the_given_configuration_is_left_alone(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    before = deepcopy(config)
    place = run_directory(config, make_config(tmp_path), 1)
    place.mkdir(parents=True)
    with RunLock.acquire(place):
        RunDirectory.open(config, make_config(tmp_path), 1, device="cpu", overrides=[]).finish(1)
    assert config == before
