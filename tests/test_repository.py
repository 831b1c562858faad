"""What stands beside the code agrees with it: citation, image, hooks, workflow, contributors' page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import droq_exp

ROOT = Path(__file__).resolve().parent.parent
CI = ROOT / ".ci" / "run"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "title", "message", "authors"} <= set(citation)
    assert citation["version"] == droq_exp.__version__
    assert citation["license"] in (ROOT / "LICENSE").read_text()
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text()


def test_the_workflow_runs_what_a_commit_must_pass() -> None:
    steps = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["ci"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]
    assert CI.stat().st_mode & 0o111


def test_the_image_installs_packages_that_ci_installs_and_tests_with() -> None:
    run = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    (install,) = re.findall(r"apt-get install (.*?)&&", run)
    packages = [word for word in shlex.split(install) if not word.startswith("-")]
    known = CI.read_text()
    assert packages
    assert [name for name in packages if name not in re.split(r"[\s();]+", known)] == []
    assert "-c constraints.txt" in run


def test_hooks_are_checks_of_ci_or_write_what_a_test_compares() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    known = CI.read_text()
    for hook in hooks:
        entry = hook["entry"].removesuffix(" --force-exclude")
        assert entry in known or (ROOT / entry.removeprefix("python ")).is_file(), entry


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_a_page_refers_to_exists(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / target).exists(), target
