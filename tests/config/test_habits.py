"""What is typed by habit, and what is wrong in a file: the line names the way that works, or the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from droq_exp.config import ConfigError, compose, compose_sweep, distinct
from droq_exp.config.keys import known_keys
from droq_exp.config.targets import trusting
from droq_exp.launch import main
from droq_exp.launch.arguments import with_config_dir

RATES = "algo.actor_learning_rate and algo.critic_learning_rate"


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("lr=1e-3", RATES),
        ("algo.learning_rate=1e-3", RATES),
        ("agent=sac", "algo"),
        ("policy=MlpPolicy", "algo.actor"),
        ("algo/tau=0.1", "algo.tau"),
        ("environment=hopper", "env"),
        ("alpha=0.2", "algo.initial_temperature"),
        ("buffer_size=10", "training.replay_size"),
        ("eval.every=10", "eval.interval"),
        ("hydra.launcher=joblib", "hydra/launcher=joblib"),
        ("hydra.sweeper=optuna", "hydra/sweeper=optuna"),
    ],
)
def test_names_of_other_programs_get_the_key_that_is_meant(line: str, suggestion: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose([line])
    assert (refused.value.key, refused.value.suggestion) == (line.partition("=")[0], suggestion)


def test_what_is_meant_is_a_key() -> None:
    from droq_exp.config.habits import _OTHER_NAMES

    assert {key.partition("=")[0] for keys in _OTHER_NAMES for key in keys.split(" and ")} <= set(known_keys("redq"))


@pytest.mark.parametrize(
    ("line", "way"),
    [
        ("hydra.run.dir=x", "output_dir="),
        ("hydra.sweep.subdir=x", "output_dir="),
        ("hydra.job.name=x", "experiment_name="),
        ("hydra.searchpath=x", "--config-dir"),
        ("experiment=mine", "--config-dir"),
    ],
)
def test_refusals_name_the_way_that_works(line: str, way: str) -> None:
    with pytest.raises(ConfigError, match=way) as refused:
        compose([line])
    assert refused.value.key == line.partition("=")[0]


@pytest.mark.parametrize(
    ("arguments", "way"),
    [
        (["-cn", "foo"], "--config-dir"),
        (["-cn=foo"], "--config-dir"),
        (["--config-path", "x"], "--config-dir"),
        (["--dry-run"], "droq-exp plan"),
        (["--output-dir", "x"], "output_dir="),
        (["--seed", "3"], "key=value"),
        (["-m", "--cfg", "job"], "droq-exp plan"),
    ],
)
def test_flags_of_other_programs_are_one_line(
    arguments: list[str], way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    error = capsys.readouterr().err
    assert (left.value.code, error.count("\n")) == (2, 1)
    assert way in error


@pytest.mark.parametrize("line", ["logger=csv", "logger=none", "logger=[csv]", "logger=[]", "callbacks=none"])
def test_nothing_more_can_be_said_in_several_ways(line: str) -> None:
    config, _ = compose([line])
    assert (list(config.logger), list(config.callbacks)) == (["csv"], [])


def test_csv_beside_another_logger() -> None:
    assert sorted(compose(["logger=[csv,tensorboard]"])[0].logger) == ["csv", "tensorboard"]


FIRST = "# @package _global_\n"
WRONG_FILES = {
    "empty": (b"", "experiment", "empty"),
    "binary": (b"\xff\x00\x12", "experiment", "UTF-8"),
    "broken": (b"algo: [", "experiment", "YAML"),
    "list": (b"- a\n", "experiment", "no mapping"),
    "local": (b"algo: {gamma: 0.9}\n", "experiment", "@package _global_"),
    "choice": (f"{FIRST}defaults:\n  - override /algo: sacc\n".encode(), "algo", "did you mean sac?"),
    "type": (f"{FIRST}algo: {{batch_size: many}}\n".encode(), "algo.batch_size", "an integer"),
    "rule": (f"{FIRST}training: {{total_steps: -5}}\n".encode(), "training.total_steps", "at least 1"),
    "unknown": (f"{FIRST}algo: {{lr: 3}}\n".encode(), "algo.lr", "algo.actor_learning_rate"),
    "job": (f"{FIRST}hydra: {{job: {{name: x}}}}\n".encode(), "hydra.job.name", "experiment_name="),
    "dots": (f"{FIRST}algo.gamma: 0.5\n".encode(), "algo.gamma", "no dots"),
    "dotted": (f"{FIRST}hydra.run.dir: x\n".encode(), "hydra.run.dir", "output_dir="),
    "second": (f"{FIRST}defaults:\n  - /algo: sac\n".encode(), "algo", "override /algo: sac"),
    "launcher": (f"{FIRST}hydra:\n  launcher: joblib\n".encode(), "hydra.launcher", "override /hydra/launcher: joblib"),
    "name": (f"{FIRST}algo: sac\n".encode(), "algo", "override /algo"),
    "hydra": (f"{FIRST}hydra: {{run: {{dir: /tmp}}}}\n".encode(), "hydra.run", "output_dir="),
}


@pytest.mark.program
@pytest.mark.parametrize("kind", WRONG_FILES)
def test_what_is_wrong_in_a_file_names_it(kind: str, tmp_path: Path) -> None:
    content, key, words = WRONG_FILES[kind]
    path = tmp_path / "experiment" / f"{kind}.yaml"
    path.parent.mkdir()
    path.write_bytes(content)
    lines = with_config_dir([f"experiment={kind}"], tmp_path)
    for composing in (lambda: compose(lines), lambda: compose_sweep([*lines, "seed=0,1"])):
        with pytest.raises(ConfigError) as refused:
            composing()
        assert refused.value.key == key
        assert str(path) in str(refused.value)
        assert words in str(refused.value)


def test_what_is_typed_is_no_files(tmp_path: Path) -> None:
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(f"{FIRST}algo: {{batch_size: 3}}\n")
    with pytest.raises(ConfigError) as refused:
        compose(with_config_dir(["experiment=mine", "algo.batch_size=many"], tmp_path))
    assert str(path) not in str(refused.value)


def test_a_point_of_a_sweep_is_named_by_what_tells_it_from_the_others() -> None:
    points = [["env=ant", "algo.gamma=0.9", f"seed={seed}"] for seed in (0, 1)]
    assert distinct(points[1], points) == "seed=1"
    with pytest.raises(ConfigError, match=r"\(sweep point: algo.utd_ratio=0\)$"):
        compose_sweep(["env=ant", "algo.utd_ratio=1,0", "training.total_steps=100"])


def test_the_help_says_of_each_key_what_it_may_be() -> None:
    """A condition between keys does not take the place of the rule of the key itself."""
    for codebase, launcher in (("redq", "slurm"), ("ku", "parallel")):
        for key in known_keys(codebase, launcher).values():
            assert not key.settable or not key.allowed.startswith(("as it is", "left alone")), key.name


@pytest.mark.parametrize(
    ("word", "told"),
    [("lr", "algo.critic_learning_rate"), ("agent", "redq_layernorm"), ("wandb", "logger.wandb.project")],
)
def test_help_knows_what_others_call_a_key(word: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help", word])
    assert told in capsys.readouterr().out


def test_the_help_of_some_keys_alone(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help", "algo.tau", "logger"])
    lines = capsys.readouterr().out.splitlines()
    assert "[a number in (0, 1]" in lines[0]
    assert [line.split()[0] for line in lines][:2] == ["algo.tau", "logger"]
    with pytest.raises(SystemExit):
        main(["--help", "algo.tauu"])
    assert "did you mean algo.tau?" in capsys.readouterr().err


OWN = """
from dataclasses import dataclass
from droq_exp.learner.losses import SquaredTdError

print("printed when imported")

@dataclass(frozen=True)
class Raising(SquaredTdError):
    def problem_with(self, algo):
        raise RuntimeError("no luck")

@dataclass(frozen=True)
class Leaving(SquaredTdError):
    def problem_with(self, algo):
        raise SystemExit(3)

@dataclass(frozen=True)
class Printing(SquaredTdError):
    def problem_with(self, algo):
        print("printed when asked")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_asked.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ["Raising", "Leaving"])
def test_a_part_that_raises_when_it_is_asked_is_named(name: str) -> None:
    with trusting(["own_asked"]), pytest.raises(ConfigError, match=name) as refused:
        compose([f"algo.objective._target_=own_asked.{name}"])
    assert refused.value.key == "algo.objective"


@pytest.mark.usefixtures("own")
def test_what_a_part_prints_is_apart_from_what_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with trusting(["own_asked"]):
        main(["--cfg", "job", "--package", "algo.gamma", "algo.objective._target_=own_asked.Printing"])
    shown = capsys.readouterr()
    assert shown.out == "0.99\n"
    assert "printed when asked" in shown.err
