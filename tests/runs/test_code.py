"""Which files define a run's learner: all whose edit changes what is learned."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hydra.utils import get_object

from droq_exp.config import Config, compose
from droq_exp.config.files import choices
from droq_exp.config.schema import PARTS
from droq_exp.config.targets import trusting
from droq_exp.runs import code
from droq_exp.runs.code import changed, code_of


def configured(*overrides: str) -> Config:
    return compose(overrides)[0]


@pytest.mark.parametrize("algo", choices("algo"))
def test_what_a_part_inherits_is_its_code_too(algo: str) -> None:
    config = configured(f"algo={algo}", "env=ant")
    targets = [config.algo._target_, *(getattr(config.algo, part)._target_ for part in PARTS)]
    classes = [get_object(target) for target in targets if target is not None]
    modules = {base.__module__ for each in classes for base in getattr(each, "__mro__", ())}
    files = {
        f"{name.removeprefix('droq_exp.').replace('.', '/')}.py" for name in modules if name.startswith("droq_exp.")
    }
    assert files
    assert files <= {*code_of(config)}


@pytest.mark.parametrize(
    ("overrides", "files"),
    [
        (["algo=flashsac"], {"learner/residual.py", "learner/batch_norm.py", "learner/normalisation.py"}),
        (["algo.dropout_rate=auto"], {"agent/selection.py", "agent/auto_dropout.py", "agent/held_out.py"}),
        (["algo=speq"], {"training/phases.py"}),
        (["algo.per.enabled=true"], {"agent/priorities.py", "learner/td_error.py"}),
    ],
)
def test_what_a_choice_brings_along(overrides: Sequence[str], files: set[str]) -> None:
    assert files <= {*code_of(configured(*overrides))}
    assert not files - {*code.FILES} & {*code_of(configured("algo=sac"))}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's own critic, whose package has a module and a subpackage, and a module beside it."""
    own = tmp_path / "theirs" / "deep"
    own.mkdir(parents=True)
    (own.parent / "__init__.py").touch()
    (own / "__init__.py").write_text("FACTOR = 1\n")
    (own.parent / "numbers.py").write_text("from . import deep\nimport beside\nSCALE = 1.0\n")
    (tmp_path / "beside.py").write_text("import numpy\n")
    (own.parent / "critic.py").write_text(
        "from droq_exp.learner.networks import EnsembleCritic\nfrom theirs.numbers import SCALE\n\n\n"
        "class Scaled(EnsembleCritic):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("theirs", "theirs.critic", "theirs.numbers", "theirs.deep", "beside"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("edited", ["theirs/critic.py", "theirs/numbers.py", "theirs/deep/__init__.py", "beside.py"])
def test_an_edit_anywhere_in_a_users_own_package_is_noticed(package: Path, edited: str) -> None:
    with trusting("theirs"):
        config = configured("algo.critic._target_=theirs.critic.Scaled")
        before = code_of(config)
        path = package / edited
        path.write_text(path.read_text() + "# a word\n")
        code._read.cache_clear()
        assert changed(before, code_of(config)) == []
        path.write_text(path.read_text() + "NEW = 3\n")
        code._read.cache_clear()
        name = edited.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        assert changed(before, code_of(config)) == [name]


def test_what_was_not_looked_at_before_is_no_change() -> None:
    now = code_of(configured("algo=flashsac"))
    fewer = {name: text for name, text in now.items() if name != "learner/batch_norm.py"}
    assert changed(fewer, now) == []
    assert changed(now, fewer) == ["learner/batch_norm.py"]
