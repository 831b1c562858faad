"""Every choice of every group composes to a checked configuration, under both codebases."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import MISSING, OmegaConf

from droq_exp.cli.page import commands_page
from droq_exp.config import ConfigError, compose
from droq_exp.config.files import GROUPS, choices, conf_directory
from droq_exp.config.help import configuration_page
from droq_exp.config.keys import CODEBASES, LAUNCHERS, known_keys
from droq_exp.config.overrides import parse, quoted
from droq_exp.config.targets import trusting
from droq_exp.launch import main
from droq_exp.runs.identity import run_directory

DOCS = Path(__file__).resolve().parents[2] / "docs"

EXPECTED_CHOICES = {
    "algo": {
        "sac",
        "redq",
        "duvn",
        "droq",
        "droq_single",
        "droq_no_dropout",
        "droq_no_layernorm",
        "redq_layernorm",
        "crossq",
        "crossq_wide",
        "flashsac",
        "xqc",
        "speq",
        "redq_ofe",
    },
    "env": {
        "hopper",
        "walker2d",
        "ant",
        "humanoid",
        "halfcheetah",
        "humanoid_full",
        "inverted_pendulum",
        "quadruped",
        "gym",
        "dmc",
        "robopianist",
    },
    "codebase": {"redq", "ku"},
    "hardware": {"auto", "cpu", "gpu", "cpu_parallel", "slurm_cpu", "slurm_gpu"},
    "logger": {"csv", "none", "tensorboard", "wandb"},
    "callbacks": {"early_stop", "none"},
}
NEEDS = {  # beside the choice
    "gym": "env.id=Pendulum-v1",
    "dmc": "env.task=cheetah-run",
    "early_stop": "callbacks.early_stop.patience=3",
}
PACKAGES = ("robopianist",)  # that the tests do not install; the choice has the package's name
WITHOUT = {(algo, "ku") for algo in ("crossq", "crossq_wide", "xqc", "flashsac")}
WITHOUT_REASON = "refused: tests/config/test_parts.py"
SINGLE_RUNS = ("smoke_run", "walk_in_the_park", "robopianist")  # of the experiments; the others are sweeps
CHOICES = [(group, choice) for group in GROUPS if group != "experiment" for choice in choices(group)]


@pytest.mark.parametrize("group", EXPECTED_CHOICES)
def test_the_groups_have_the_promised_choices(group: str) -> None:
    assert set(choices(group)) == EXPECTED_CHOICES[group]


def test_every_directory_of_conf_is_a_known_group() -> None:
    assert {path.name for path in conf_directory().iterdir() if path.is_dir()} == set(GROUPS)


@pytest.mark.program
@pytest.mark.parametrize("codebase", CODEBASES)
@pytest.mark.parametrize(("group", "choice"), [*CHOICES, *(("experiment", name) for name in SINGLE_RUNS)])
def test_every_choice_composes(group: str, choice: str, codebase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if (choice, codebase) in WITHOUT:
        pytest.skip(WITHOUT_REASON)
    if choice in PACKAGES:
        pytest.importorskip(choice)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # for hardware=gpu
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    overrides = [f"{group}={choice}"] + ([f"codebase={codebase}"] if group != "codebase" else [])
    config, recipe = compose([*overrides, *([NEEDS[choice]] if choice in NEEDS else [])])
    for composed in (config, recipe):
        assert isinstance(composed.algo.target_entropy, float)
        assert "${" not in str(dataclasses.asdict(composed))
        assert "???" not in str(dataclasses.asdict(composed))
    if group in ("algo", "env", "codebase"):
        assert getattr(config, group).name == choice


def test_root_defaults() -> None:
    config, recipe = compose([])
    assert (config.algo.name, config.env.name, config.codebase.name) == ("droq", "hopper", "redq")
    assert (config.hardware.device, config.seed, config.experiment_name) == ("auto", 0, "runs")
    assert config.logger == {"csv": {"_target_": "droq_exp.loggers.csv.CsvLogger"}}
    assert config == recipe


@pytest.mark.parametrize(
    ("codebase", "hardware", "launcher"),
    [
        ("redq", "auto", "here"),
        ("ku", "slurm_cpu", "slurm"),
        ("ku", "slurm_gpu", "slurm"),
        ("ku", "cpu_parallel", "parallel"),
    ],
)
def test_cfg_shows_every_key_of_the_schema(
    codebase: str, hardware: str, launcher: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """None is hidden: what has a default in the schema alone is printed as much as what conf/ sets."""
    chosen = ["logger=[tensorboard,wandb]", "callbacks=early_stop", NEEDS["early_stop"]]
    main(["--cfg", "job", f"codebase={codebase}", f"hardware={hardware}", *chosen])
    shown: set[str] = set()
    _collect(yaml.safe_load(capsys.readouterr().out), "", shown)
    assert set(known_keys(codebase, launcher)) <= shown


def _collect(values: Any, prefix: str, found: set[str]) -> None:
    found.add(prefix)
    for name, value in values.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        found.add(key)
        if isinstance(value, dict):
            _collect(value, key, found)


def test_overrides_win_over_the_tables_and_the_recipe_keeps_them() -> None:
    config, recipe = compose(
        ["env=ant", "algo.target_entropy=-7", "algo.dropout_rate=0.3", "training.total_steps=11", "eval.episodes=4"]
    )
    assert (config.algo.target_entropy, config.algo.dropout_rate) == (-7.0, 0.3)
    assert (config.training.total_steps, config.eval.episodes) == (11, 4)
    assert (recipe.algo.target_entropy, recipe.algo.dropout_rate) == (-4.0, 0.01)
    assert (recipe.training.total_steps, recipe.eval.episodes) == (300_000, 1)


def test_the_recipe_is_algo_env_codebase_and_experiment() -> None:
    given = ["algo=sac", "env=walker2d", "codebase=ku", "experiment=smoke_run", "debug=default", "hardware=cpu"]
    config, recipe = compose([*given, "logger=wandb", "logger.wandb.mode=online", "seed=[3,1]"])
    assert (recipe.algo.name, recipe.env.name, recipe.codebase.name) == ("sac", "walker2d", "ku")
    assert (config.experiment_name, recipe.experiment_name) == ("debug", "smoke_run")
    assert (config.hardware.device, recipe.hardware.device) == ("cpu", "auto")
    assert config.logger["wandb"]["mode"] == "online"
    assert recipe.logger.keys() == {"csv"}
    assert (config.seed, recipe.seed) == ([3, 1], 0)
    assert config.algo.hidden_sizes == [16, 16]
    assert recipe.algo.hidden_sizes == [256, 256]


def test_the_recipe_of_a_gymnasium_task_has_its_id_but_not_its_arguments() -> None:
    config, recipe = compose(["env=gym", "env.id=Pendulum-v1", "env.kwargs.g=9.5"])
    assert config.env.id == recipe.env.id == "Pendulum-v1"
    assert (config.env.kwargs, recipe.env.kwargs) == ({"g": 9.5}, {})
    assert config.algo.target_entropy == recipe.algo.target_entropy == -1.0


def test_a_task_may_be_registered_by_the_module_that_its_id_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gymnasium

    entry = "gymnasium.spec('Pendulum-v1').entry_point"
    register = f"import gymnasium\ngymnasium.register('Swing-v0', {entry}, max_episode_steps=9)\n"
    (tmp_path / "my_swings.py").write_text(register)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with trusting(["my_swings"]):
            config, _ = compose(["env=gym", "env.id=my_swings:Swing-v0", "env.kwargs.g=9.5"])
    finally:
        gymnasium.registry.pop("Swing-v0", None)
    assert config.env.id == "my_swings:Swing-v0"
    assert config.algo.target_entropy == -1.0


def test_a_null_target_entropy_is_minus_the_action_dimensions() -> None:
    config, _ = compose(["env=hopper", "algo.target_entropy=null"])
    assert config.algo.target_entropy == -3.0


def test_what_the_environment_says_is_text_and_stands_for_what_it_spells(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"SEED": "3", "STEPS": "2000", "RATE": "1e-3", "LAYERS": "False", "WIDTH": "64", "OTHER": "4"}
    for name, text in texts.items():
        monkeypatch.setenv(name, text)
    values = ["training.total_steps=${oc.env:STEPS}", "algo.tau=${oc.env:RATE}", "algo.layer_norm=${oc.env:LAYERS}"]
    config, recipe = compose(["seed=${oc.env:SEED}", "algo.hidden_sizes=['${oc.env:WIDTH}',32]", *values])
    assert (config.seed, config.training.total_steps, config.algo.tau) == (3, 2000, 0.001)
    assert (config.algo.layer_norm, config.algo.hidden_sizes) == (False, [64, 32])
    typed, _ = compose(
        ["training.total_steps=2000", "algo.tau=1e-3", "algo.layer_norm=False", "algo.hidden_sizes=[64,32]"]
    )
    assert run_directory(config, recipe, 3) == run_directory(typed, recipe, 3)
    config, _ = compose(["seed=['${oc.env:SEED}','${oc.env:OTHER}']"])
    assert config.seeds == [3, 4]
    for text in ("3.5", "three", "-1", "3 4", "0x3"):
        monkeypatch.setenv("SEED", text)
        with pytest.raises(ConfigError, match=r"seed: .* is not allowed; it must be an integer from 0"):
            compose(["seed=${oc.env:SEED}"])


def test_a_quoted_text_is_read_back_as_it_is() -> None:
    for characters in product("\\'${a ", repeat=3):
        text = "/" + "".join(characters) + "}"
        (override,) = parse([f"output_dir={quoted(text)}"])
        assert OmegaConf.to_container(OmegaConf.create({"read": override.value()}), resolve=True) == {"read": text}


def test_several_loggers() -> None:
    config, _ = compose(["logger=[tensorboard,wandb]"])
    assert list(config.logger) == ["csv", "tensorboard", "wandb"]
    assert config.logger["wandb"]["mode"] == "offline"


def test_a_plus_changes_nothing() -> None:
    plain = compose(["experiment=smoke_run", "algo.gamma=0.9"])
    assert compose(["+experiment=smoke_run", "+algo.gamma=0.9"]) == plain
    assert compose(["experiment=smoke_run", "++algo.gamma=0.9"]) == plain


def test_a_directory_of_ones_own_adds_choices(tmp_path: Any) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /env: ant\nalgo:\n  utd_ratio: 3\n"
    )
    search = f"hydra.searchpath=['file://{tmp_path}']"
    config, recipe = compose([search, "experiment=mine"])
    assert (config.env.name, config.algo.utd_ratio, recipe.algo.utd_ratio) == ("ant", 3, 3)
    assert (config.experiment_name, recipe.experiment_name) == ("mine", "mine")
    assert compose([search, "experiment=mine", "experiment_name=other"])[0].experiment_name == "other"
    with pytest.raises(ConfigError, match=r"choose from .*mine, ") as refusal:
        compose([search, "experiment=min"])
    assert refusal.value.suggestion == "mine"


def test_a_file_with_a_wrong_key_or_name_is_refused_too(tmp_path: Any) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "wrong.yaml").write_text("# @package _global_\nalgo:\n  utd_ration: 3\n")
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo" / "mine.yaml").write_text((conf_directory() / "algo" / "sac.yaml").read_text())
    search = f"hydra.searchpath=['file://{tmp_path}']"
    with pytest.raises(ConfigError) as refusal:
        compose([search, "experiment=wrong"])
    assert (refusal.value.key, refusal.value.suggestion) == ("algo.utd_ration", "algo.utd_ratio")
    (tmp_path / "experiment" / "broken.yaml").write_text("# @package _global_\nalgo: [\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        compose([search, "experiment=broken"])
    with pytest.raises(ConfigError) as refusal:
        compose([search, "algo=mine"])
    assert refusal.value.key == "algo.name"


@pytest.mark.parametrize(("name", "page"), [("configuration.md", configuration_page), ("commands.md", commands_page)])
def test_the_pages_of_keys_and_commands_are_what_the_program_says(name: str, page: Callable[[], str]) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == page(), "run python scripts/write_configuration.py"


def test_every_key_says_what_it_means() -> None:
    for codebase, launcher in product(CODEBASES, LAUNCHERS):
        for key in known_keys(codebase, launcher).values():
            assert key.is_block or key.meaning, key.name


def test_a_default_stands_once() -> None:
    """No file of conf/ repeats what the schema says, but to take a key from the tables of ``config.yaml``."""
    by_table = {"algo.target_entropy", "training.total_steps"}
    declared = {
        name: key.default
        for codebase, launcher in product(CODEBASES, LAUNCHERS)
        for name, key in known_keys(codebase, launcher).items()
        if not key.is_block and key.settable and key.default != MISSING
    }
    for group in ("algo", "env", "codebase", "hardware", "logger"):
        for file in (conf_directory() / group).glob("*.yaml"):
            text = file.read_text(encoding="utf-8")
            content = yaml.safe_load(text) or {}
            blocks = content if "@package _global_" in text else {group: content}
            for block, values in blocks.items():
                if not isinstance(values, dict):
                    continue  # the list of what it starts from
                repeated = {
                    f"{block}.{name}" for name in values if declared.get(f"{block}.{name}", ...) == values[name]
                }
                assert repeated <= by_table, f"{file.name}: {repeated}"
