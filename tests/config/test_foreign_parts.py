"""Loggers of any package: chosen by a file of the user's own or typed, their keys those of their class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from droq_exp.config import Config, ConfigError, compose, compose_sweep
from droq_exp.config.targets import trusting
from droq_exp.launch import main

MODULE = """
from dataclasses import dataclass, field
from pathlib import Path

class Plain:
    def __init__(self, info, uri: str, retries: int = 3, wait: float | None = None, place=Path("x")): ...

    def log(self, step, metrics): ...

@dataclass
class Data:
    info: object
    names: list[str] = field(default_factory=lambda: ["a"])

    log = Plain.log

class Open:
    log = Plain.log

    def __init__(self, info, **anything): ...

class Without:
    log = Plain.log

    def __init__(self, uri: str = ""): ...

class Counter:
    def __init__(self, evaluations: int = 1):
        if evaluations < 1:
            raise ValueError("evaluations must be at least 1")
    def evaluated(self, step, metrics): ...
    def state(self): return {}
    def load_state(self, state): ...

number = 3
"""
FILE = "mine:\n  _target_: their_loggers.Plain\n  uri: here\n"


@pytest.fixture(autouse=True)
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An importable and trusted module, and a directory of choices, in the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("their_loggers.py").write_text(MODULE)
    Path("conf/logger").mkdir(parents=True)
    Path("conf/logger/mine.yaml").write_text(FILE)
    with trusting(["their_loggers"]):
        yield


def composed(*overrides: str) -> Config:
    return compose([f"hydra.searchpath=['file://{Path.cwd()}/conf']", *overrides])[0]


def typed(*keys: str) -> Config:
    return composed(*(f"logger.x.{key}" for key in keys))


def test_one_of_a_file_has_the_defaults_of_its_class_and_what_is_typed() -> None:
    """A default that no YAML can hold is left to the class."""
    config = composed("logger=[mine,tensorboard]", "logger.mine.retries=5")
    assert list(config.logger) == ["csv", "mine", "tensorboard"]
    assert config.logger["mine"] == {
        "_target_": "their_loggers.Plain",
        "uri": "here",
        "retries": 5,
        "wait": None,
    }


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_one_that_is_typed(plus: str) -> None:
    config = composed(f"{plus}logger.x._target_=their_loggers.Data", f"{plus}logger.x.names=[b]")
    assert config.logger["x"] == {"_target_": "their_loggers.Data", "names": ["b"]}
    assert composed(f"{plus}logger.x={{_target_: their_loggers.Data}}").logger["x"]["names"] == ["a"]


def test_values_are_as_their_annotations_have_them() -> None:
    """So that the run is the same, however it is typed."""
    block = typed("_target_=their_loggers.Plain", "uri=3", "wait=2", "place=4").logger["x"]
    assert block == {"_target_": "their_loggers.Plain", "uri": "3", "retries": 3, "wait": 2.0, "place": 4}
    assert type(block["wait"]) is float


def test_one_that_takes_any_key() -> None:
    assert typed("_target_=their_loggers.Open", "whatever=3").logger["x"]["whatever"] == 3


def test_help_knows_the_keys_of_one_that_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help", "--config-dir", "conf", "logger=mine", "logger.mine.retries=5", "logger.mine"])
    out = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["logger.mine.uri", "of", "their_loggers.Plain", '["here"]'] in out
    assert ["logger.mine.retries", "of", "their_loggers.Plain", "[5]"] in out


@pytest.mark.parametrize("key", ["callbacks.x", "callbacks.x.evaluations"])
def test_what_is_typed_is_no_files_where_its_class_judges_the_whole(key: str) -> None:
    """An error of the block is one of the value that was typed below it."""
    Path("conf/callbacks").mkdir()
    Path("conf/callbacks/x.yaml").write_text("x:\n  _target_: their_loggers.Counter\n  evaluations: 2\n")
    typed = "callbacks.x={evaluations: 0}" if key == "callbacks.x" else "callbacks.x.evaluations=0"
    with pytest.raises(ConfigError, match=r"^callbacks\.x: .*evaluations must be at least 1$"):
        composed("callbacks=x", typed)


def test_a_sweep_over_its_keys() -> None:
    swept = [f"hydra.searchpath=['file://{Path.cwd()}/conf']", "logger=mine", "logger.mine.uri=a,b"]
    assert [config.logger["mine"]["uri"] for config, _ in compose_sweep(swept)] == ["a", "b"]


@pytest.mark.parametrize(
    ("keys", "key", "problem", "suggestion"),
    [
        (["Plain", "url=x"], "logger.x.url", "allowed in logger.x: place, retries, uri, wait", "logger.x.uri"),
        (["Plain"], "logger.x.uri", "must be given: logger.x.uri=<value>", None),
        (["Plain", "uri=a", "retries=often"], "logger.x.retries", '"often" is not an integer', None),
        (["Plain", "uri=a", "wait=long"], "logger.x.wait", '"long" is not a number, or null', None),
        (["Data", "info=3"], "logger.x.info", "unknown key", None),
        (["Open", "info=3"], "logger.x.info", "unknown key", None),
        (["Open", "x={_target_: os.system}"], "logger.x.x._target_", "names that start with '_' are Hydra's own", None),
        (["Open", "_args_=[1]"], "logger.x._args_", "names that start with '_' are Hydra's own", None),
        (["Without"], "logger.x._target_", "takes no argument info", None),
        (["number"], "logger.x._target_", "is no class with a method log", None),
        (["Nothing"], "logger.x._target_", "there is no their_loggers.Nothing", None),
    ],
)
def test_what_its_class_does_not_take_is_refused(
    keys: list[str], key: str, problem: str, suggestion: str | None
) -> None:
    with pytest.raises(ConfigError) as refusal:
        typed(f"_target_=their_loggers.{keys[0]}", *keys[1:])
    assert (refusal.value.key, refusal.value.suggestion) == (key, suggestion)
    assert problem in str(refusal.value)


@pytest.mark.parametrize(
    ("overrides", "key", "problem"),
    [
        (["logger.mine.uri=x"], "logger.mine.uri", "mine is not chosen: add logger=mine"),
        (["logger.wandb._target_=their_loggers.Plain"], "logger.wandb._target_", "is not chosen: add logger=wandb"),
        (["logger.x._target_=os.system"], "logger.x._target_", "is not one of this project's; --trust os builds"),
        (["logger=flat"], "logger._target_", "each has a name, as in logger.mine._target_=<class>"),
        (["logger=bare"], "logger.bare", "nothing says what is built of its keys: logger.bare._target_=<class> does"),
        (
            ["experiment=online", "logger=[]"],
            "logger.wandb",
            "logger=wandb chooses it, logger.wandb=null leaves it out",
        ),
        (["experiment=online", "logger.csv=null"], "logger.csv", "is not a block of keys"),
    ],
)
def test_what_is_no_logger_is_refused(overrides: list[str], key: str, problem: str) -> None:
    Path("conf/logger/flat.yaml").write_text("_target_: their_loggers.Plain\n")
    Path("conf/logger/bare.yaml").write_text("bare: {uri: x}\n")
    experiment_with_wandb()
    with pytest.raises(ConfigError) as refusal:
        composed(*overrides)
    assert refusal.value.key == key
    assert problem in str(refusal.value)


def experiment_with_wandb() -> None:
    Path("conf/experiment").mkdir()
    text = "# @package _global_\ndefaults: [override /logger: wandb]\nlogger: {wandb: {mode: online}}\n"
    Path("conf/experiment/online.yaml").write_text(text)


def test_null_leaves_out_what_a_file_has() -> None:
    experiment_with_wandb()
    assert list(composed("experiment=online").logger) == ["csv", "wandb"]
    for choice in ([], ["logger=[]"]):
        assert list(composed("experiment=online", *choice, "logger.wandb=null").logger) == ["csv"]


def test_nothing_is_imported_of_a_package_that_is_not_trusted() -> None:
    Path("evil.py").write_text("open('executed', 'w').close()\n")
    Path("conf/logger/evil.yaml").write_text("evil: {_target_: evil.Logger}\n")
    with pytest.raises(ConfigError, match=r"logger\.evil\._target_: .*--trust evil"):
        composed("logger=evil")
    assert not Path("executed").exists()
