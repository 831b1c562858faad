"""Attempts to have something executed by a configuration, an experiment's file, a run directory, a checkpoint."""

from __future__ import annotations

import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import forks
import pytest
import torch
import yaml
from run_files import ENVIRONMENT, PROGRAM, droq_exp, error_line

from droq_exp.config import ConfigError, compose, task_modules
from droq_exp.config.targets import VARIABLE, check_stored_overrides, check_target, check_task, trusted, trusting
from droq_exp.import_path import child_environment
from droq_exp.report.table import Column, Table

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parents[2]
TOUCH = {"_target_": "subprocess.run", "args": ["touch", "executed"]}
RUN = ("debug=default", "algo=sac", "env=inverted_pendulum", "hardware=cpu", "hardware.threads=1")
SHORT = ("training.total_steps=20", "training.start_steps=10", "eval.interval=20", "bias.enabled=false")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory with a module that must not be imported; whatever is executed leaves a file there."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('executed', 'w').close()\n")
    return tmp_path


def refused(command: list[str]) -> str:
    done = forks.run(command, env=ENVIRONMENT)
    assert not Path("executed").exists(), done.stderr
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    return done.stderr


# Command line and experiment files


@pytest.mark.parametrize(
    "kwargs",
    [
        "{xml_file: {_target_: subprocess.run, args: [touch, executed]}}",
        "{xml_file: [{_target_: subprocess.run, args: [touch, executed]}]}",
        "{xml_file: [[{a: {_target_: subprocess.run}}]]}",
        "{_target_: subprocess.run}",
        "{a: {_args_: [1]}}",
        "{a: [{_partial_: true}]}",
    ],
)
def test_nothing_is_built_of_the_arguments_of_a_task(kwargs: str) -> None:
    with pytest.raises(ConfigError, match="Hydra's own") as refusal:
        compose([f"+env.kwargs={kwargs}"])
    assert refusal.value.key.startswith("env.kwargs")
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("env", "gymnasium.envs.registration.load_env_creator"),
        ("env", "gymnasium.make"),
        ("algo", "evil.Agent"),
        ("codebase", "droq_exp.runs.files.discard"),
        ("logger.csv", "os.system"),
        ("logger.mine", "evil.Logger"),
        ("callbacks.mine", "evil.Callback"),
    ],
)
def test_a_prefix_is_no_boundary(key: str, target: str) -> None:
    with pytest.raises(ConfigError, match="not one of this project's; --trust") as refusal:
        compose([f"{key}._target_={target}"])
    assert refusal.value.key == f"{key}._target_"
    assert not Path("executed").exists()


HYDRA: list[dict[str, Any]] = [
    {"callbacks": {"mine": {"_target_": "evil.Callback"}}},
    {"job_logging": {"handlers": {"x": {"()": "subprocess.run", "args": ["touch", "executed"]}}}},
    {"hydra_logging": {"handlers": {"x": {"()": "subprocess.run", "args": ["touch", "executed"]}}}},
    {"job": {"env_set": {"LD_PRELOAD": "evil.so"}}},
    {"launcher": {"_target_": "evil.Launcher"}},
    {"sweeper": {"_target_": "evil.Sweeper"}},
    {"run": {"dir": "elsewhere"}},
    {"output_subdir": "executed"},
    {"job": {"chdir": True}},
    {"mode": "MULTIRUN"},
]


@pytest.mark.parametrize("params", [{"seed": TOUCH}, {"env.kwargs": {"a": [TOUCH]}}, TOUCH])
def test_nothing_is_built_of_the_sweep_of_an_experiment(params: dict[str, Any]) -> None:
    """Not even where the command line sets the same keys."""
    (Path("mine") / "experiment").mkdir(parents=True)
    content = {"hydra": {"sweeper": {"params": params}}}
    Path("mine/experiment/bad.yaml").write_text("# @package _global_\n" + yaml.safe_dump(content))
    given = ["--config-dir", "mine", "experiment=bad", "seed=0", "env.kwargs={}"]
    for multirun in ([], ["-m"]):
        line = refused([sys.executable, str(ROOT / "launch.py"), *multirun, *RUN, *given])
        assert line.startswith("error: hydra.sweeper.")
    assert not Path("executed").exists()


def test_what_a_search_names_is_free_of_targets() -> None:
    (Path("mine") / "experiment").mkdir(parents=True)
    Path("mine/experiment/bad.yaml").write_text("# @package _global_\n" + yaml.safe_dump({"tune": {"x": TOUCH}}))
    given = ["--config-dir", "mine", "experiment=bad", "seed=0"]
    line = refused([sys.executable, str(ROOT / "launch.py"), *RUN, *given])
    assert line.startswith("error: tune.x._target_: ")


@pytest.mark.parametrize("name", ["partition", "account", "qos", "constraint"])
@pytest.mark.parametrize("value", ["a\n\ntouch executed\n", "a b", "a;b", "$(b)", "`b`"])
def test_no_value_ends_the_line_of_a_job_script(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match="a text without spaces, quotes or line breaks") as refusal:
        compose(["hardware=slurm_cpu", f"hardware.{name}='{value}'"])
    assert refusal.value.key == f"hardware.{name}"


def test_this_projects_own_stands_in_its_place_only() -> None:
    for key, target in (("env", "droq_exp.loggers.csv.CsvLogger"), ("codebase", "droq_exp.agent.Agent")):
        words = f"{target} does not belong here; this project's own: droq_exp"
        with pytest.raises(ConfigError, match=words) as refusal:
            compose([f"{key}._target_={target}"])
        assert refusal.value.key == f"{key}._target_"


@pytest.mark.parametrize(("group", "target"), [("logger", "os.system"), ("callbacks", "subprocess.run")])
def test_an_entry_is_a_class_of_its_kind_before_anything_is_called(
    group: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, target.partition(".")[0])
    with pytest.raises(ConfigError, match=f"{target} is no class with a method "):
        compose([f"{group}.mine={{_target_: {target}, args: [touch, executed]}}"])
    assert not Path("executed").exists()


@pytest.mark.parametrize("settings", HYDRA)
def test_a_file_of_an_experiment_sets_nothing_of_hydra_but_its_sweep(settings: dict[str, Any]) -> None:
    (Path("mine") / "experiment").mkdir(parents=True)
    Path("mine/experiment/bad.yaml").write_text("# @package _global_\n" + yaml.safe_dump({"hydra": settings}))
    line = refused([sys.executable, str(ROOT / "launch.py"), *RUN, "--config-dir", "mine", "experiment=bad"])
    assert line.startswith("error: hydra.")
    assert "hydra.sweeper.params alone" in line


def test_a_target_in_the_file_of_an_experiment_is_refused() -> None:
    (Path("mine") / "experiment").mkdir(parents=True)
    content = {"env": {"kwargs": {"xml_file": [TOUCH]}}}
    Path("mine/experiment/bad.yaml").write_text("# @package _global_\n" + yaml.safe_dump(content))
    line = refused([sys.executable, str(ROOT / "launch.py"), *RUN, "--config-dir", "mine", "experiment=bad"])
    assert line.startswith("error: env.kwargs.xml_file[0]._target_: ")


# Run directories


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trained")
    command = [sys.executable, str(ROOT / "launch.py"), *RUN, *SHORT]
    forks.run(command, cwd=directory, env=ENVIRONMENT, check=True)
    (run,) = directory.rglob("seed_0")
    return run


def copy_of(run: Path, changes: dict[str, dict[str, Any]]) -> Path:
    directory = Path("run")
    (directory / "checkpoint").mkdir(parents=True)
    (directory / "checkpoint" / "weights.pt").write_bytes((run / "checkpoint" / "weights.pt").read_bytes())
    (directory / "status.json").write_bytes((run / "status.json").read_bytes())
    content = yaml.safe_load((run / "config.yaml").read_text())
    for group, values in changes.items():
        content[group] = {**content[group], **values}
    (directory / "config.yaml").write_text(yaml.safe_dump(content))
    return directory


ATTACKS: dict[str, dict[str, dict[str, Any]]] = {
    "a list in kwargs": {"env": {"kwargs": {"xml_file": [TOUCH]}}},
    "kwargs themselves": {"env": {"kwargs": TOUCH}},
    "a module in the id": {"env": {"id": "evil:X-v0", "name": "gym"}},
    "the task": {"env": {"_target_": "subprocess.run"}},
    "within Gymnasium": {"env": {"_target_": "gymnasium.envs.registration.load_env_creator"}},
    "the agent": {"algo": {"_target_": "evil.Agent"}},
    "the code base": {"codebase": {"_target_": "evil.Codebase"}},
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("command", ["evaluate", "play"])
def test_a_directory_that_is_looked_at_executes_nothing(
    attack: str, command: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = copy_of(trained, ATTACKS[attack])
    assert droq_exp(command, str(directory)) == 2
    error_line(capsys)
    assert not Path("executed").exists()


@pytest.mark.parametrize("command", ["evaluate", "play"])
def test_nor_does_the_program(command: str, trained: Path) -> None:
    directory = copy_of(trained, ATTACKS["a module in the id"])
    assert refused([*PROGRAM, command, str(directory)]).startswith("error: ")


def test_pickled_weights_execute_nothing(trained: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (open, ("executed", "w"))

    directory = copy_of(trained, {})
    torch.save({"step": 20, "actor": Evil()}, directory / "checkpoint" / "weights.pt", pickle_module=pickle)
    assert "weights.pt" in refused([*PROGRAM, "evaluate", str(directory)])


def test_an_older_name_of_a_target_is_known(trained: Path) -> None:
    directory = copy_of(trained, {"codebase": {"_target_": "droq_exp.styles.redq.RedqStyle"}})
    command = [*PROGRAM, "evaluate", str(directory), "--episodes", "1"]
    done = forks.run(command, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("hardware.setup=['touch executed']", "hardware.setup"),
        ("hydra.searchpath=['file:///tmp']", "hydra.searchpath"),
        ("env.id='evil\\:X-v0'", "evil"),
        ("algo._target_=evil.Agent", "evil"),
        ("+env._target_=evil.make", "evil"),
    ],
)
def test_stored_overrides_are_not_repeated_unasked(line: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"--trust {name} "):
        check_stored_overrides("seed_0", ["algo=sac", line])
    with trusting([name]):
        check_stored_overrides("seed_0", ["algo=sac", line])
    with trusting(name):  # one name, not its letters
        assert trusted() == [name]
    assert trusted() == []


def test_a_command_trusts_for_itself_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["retry", "nowhere"], ["evaluate", "nowhere"], ["play", "nowhere"], ["plan", "algo=drok"]):
        assert droq_exp(*command, "--trust", "evil") == 2
        assert (trusted(), os.environ.get(VARIABLE)) == ([], None)


def test_another_thread_and_what_is_started_within_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "lasting")
    with trusting(["mine", "lasting"]), ThreadPoolExecutor() as threads:
        assert trusted() == ["lasting", "mine"]
        assert threads.submit(trusted).result() == ["lasting"]
        assert child_environment()[VARIABLE] == "lasting,mine"
    assert trusted() == ["lasting"]


@pytest.mark.parametrize(
    ("tasks", "names"), [("evil:X-v0", ["evil:"]), ("evil.in:X-v0,'my:Y-v1',Z", ["evil.in:", "my:"])]
)
def test_a_task_that_is_typed_trusts_the_tasks_of_its_module_alone(tasks: str, names: list[str]) -> None:
    assert task_modules(["env=gym", f"env.id={tasks}"]) == names
    with trusting(names):
        check_task("env.id", f"{names[0]}Other-v0")
        with pytest.raises(ConfigError, match="--trust evil builds"):
            check_target("algo._target_", "evil.Agent")


def test_no_cell_of_a_table_starts_a_formula() -> None:
    table = Table("t", "T", "", (Column("a"), Column("b")), (("=1+1", -2.0), ("@x", 1), ("-x", 2), ("plain", 3)))
    assert table.to_csv().splitlines()[1:] == ["'=1+1,-2.0", "'@x,1", "'-x,2", "plain,3"]
