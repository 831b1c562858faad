"""The commit of the checkout that holds the package, and of no other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import droq_exp
from droq_exp.runs.provenance import git_commit, versions


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    git(tmp_path, *identity, "commit", "-q", "-m", "First")
    return tmp_path


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(directory), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_commit_of_a_clean_checkout(checkout: Path) -> None:
    assert git_commit(checkout / "package") == git(checkout, "rev-parse", "HEAD")


def test_changed_files_are_marked(checkout: Path) -> None:
    (checkout / "package" / "__init__.py").write_text("changed = True\n")
    assert git_commit(checkout / "package") == git(checkout, "rev-parse", "HEAD") + "+dirty"


def test_a_wheel_installed_inside_somebody_elses_checkout_has_none(checkout: Path) -> None:
    installed = checkout / ".venv" / "lib" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert git_commit(installed) is None


def test_no_checkout_and_no_git_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_commit(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path / "other") is None


def test_versions_name_what_numbers_depend_on() -> None:
    found = versions()
    assert set(found) == {"python", "torch", "numpy", "gymnasium", "mujoco", "droq_exp"}
    assert found["droq_exp"] == droq_exp.__version__
    assert all(found.values())
