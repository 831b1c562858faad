"""The pages of ``docs/howto``: what each tells to write is written and trained, and its lines are counted."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import forks
import pytest
from checkouts import Checkout
from real_runs import (
    LITTLE_BIAS,
    ROOT,
    SMALL,
    assert_interruptions_change_nothing,
    only_run,
    same_weights,
    status,
)

PAGES = ROOT / "docs" / "howto"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
pytestmark = pytest.mark.program


def block(page: str, language: str) -> str:
    """The one code block of a page in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    return found


def launch(command: str, *more: str) -> subprocess.CompletedProcess[str]:
    python, program, *arguments = shlex.split(command)
    assert (python, program) == ("python", "launch.py")
    return forks.run([sys.executable, str(ROOT / program), *SMALL, *arguments, LITTLE_BIAS, *more], env=ENVIRONMENT)


@pytest.mark.parametrize(
    ("page", "stands_aside"),
    [
        ("network.md", "algo.critic is my_networks"),
        ("random.md", "algo.objective is my_bootstrap"),
        ("task.md", ""),
        ("codebase.md", ""),
    ],
)
def test_a_page_of_one_module(page: str, stands_aside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    code = block(page, "python")
    assert f"1 new file, {len([line for line in code.splitlines()[1:] if line])} lines" in (PAGES / page).read_text()
    name = code.splitlines()[0].removeprefix("# ")
    Path(name).write_text(code)
    done = launch(block(page, "console"))
    assert done.returncode == 0, done.stderr
    assert status(only_run())["state"] == "finished"
    told = "updates: eager, not this project's C++: "
    assert f"{told}{stands_aside}" in done.stderr if stands_aside else told not in done.stderr
    if "my_tasks" not in code:
        Path(name).unlink()
        mine = only_run()
        kept = [word for word in shlex.split(block(page, "console")) if "_target_" not in word]
        assert launch(shlex.join(kept), "output_dir=usual").returncode == 0
        (other,) = (place / "usual").resolve().glob("*/*/*/*/seed_*")
        assert not same_weights(mine, other)


def test_random_numbers_go_on_where_a_run_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DROQ_EXP_TRUST", "my_bootstrap")
    (tmp_path / "my_bootstrap.py").write_text(block("random.md", "python"))
    _, _, *arguments = shlex.split(block("random.md", "console"))
    assert_interruptions_change_nothing(tmp_path / "whole", [*arguments, LITTLE_BIAS, "env=inverted_pendulum"], 65)


def test_the_formula_is_what_trains(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    lines = block("formula.md", "diff").splitlines()
    file, before, after = lines[0].split()[1].removesuffix(","), lines[1][1:], lines[2][1:]
    checkout.edit(Path(file).name, before, after)
    _, error = checkout.train(tmp_path / "run")
    assert block("formula.md", "text").strip() in error


def test_the_algorithm_is_as_long_as_told() -> None:
    place = ROOT / "examples" / "quantile_critic"
    files = [place / "quantile_critic.py", place / "conf" / "algo" / "quantile_critic.yaml"]
    count = sum(len([line for line in file.read_text().splitlines() if line]) for file in files)
    assert f"2 new files, {count} lines" in (PAGES / "algorithm.md").read_text()


def test_each_page_is_listed() -> None:
    listed = set(re.findall(r"\]\((\w+\.md)\)", (PAGES / "README.md").read_text()))
    assert listed | {"README.md"} == {path.name for path in PAGES.glob("*.md")}
