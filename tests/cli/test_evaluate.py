"""``droq-exp evaluate``, on real runs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real_runs import LITTLE_BIAS, train_in
from run_files import ENVIRONMENT, PROGRAM, droq_exp, error_line

pytestmark = pytest.mark.program


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "here"
    train_in(directory, "env=hopper", LITTLE_BIAS, "seed=[0,1]")
    return directory / "outputs"


@pytest.fixture
def run(outputs: Path) -> Path:
    return sorted(outputs.glob("*/*/*/*/seed_*"))[0]


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert droq_exp("evaluate", *arguments) == 0
    out, error = capsys.readouterr()
    assert out.count("\n") == 1
    assert error == ""  # no terminal, no progress
    return json.loads(out)


def test_equal_seeds_give_equal_numbers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = _json(capsys, str(run), "--episodes", "4")
    assert first == _json(capsys, str(run), "--episodes", "4", "--seed", "0")
    assert first["returns"] == _json(capsys, str(run), "--episodes", "9")["returns"][:4]
    assert not set(first["returns"]) & set(_json(capsys, str(run), "--episodes", "4", "--seed", "1")["returns"])
    assert first["policy"] == "deterministic"
    sampled = _json(capsys, str(run), "--episodes", "4", "--stochastic")
    assert sampled["policy"] == "stochastic"
    assert sampled["returns"] != first["returns"]


def test_the_numbers_fit_each_other(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = _json(capsys, str(run), "--episodes", "5")
    returns = told["returns"]
    assert (told["run"], told["env"], told["step"]) == (str(run), "Hopper-v5", 100)
    assert len(returns) == len(told["lengths"]) == len(told["terminated"]) == told["episodes"] == 5
    for name in ("mean", "std", "min", "max", "median"):
        assert told[f"return_{name}"] == pytest.approx(getattr(np, name)(returns))
    assert told["length_mean"] == np.mean(told["lengths"])
    assert "torch" in told["versions"]


def test_only_the_file_that_is_asked_for_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    told = _json(capsys, str(run), "--episodes", "2", "--output", str(tmp_path / "told.json"))
    assert json.loads((tmp_path / "told.json").read_text()) == told
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_single_run_below_a_directory_is_found(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "a" / "b" / "seed_0"
    shutil.copytree(run, place)
    assert _json(capsys, str(tmp_path), "--episodes", "1")["run"] == str(place)


def test_what_cannot_be_evaluated_is_told_in_one_line(
    outputs: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    (damaged / "checkpoint" / "weights.pt").write_bytes(b"PK\x03\x04")
    cases = [
        ([str(outputs)], "has 2 runs; give one of them: "),
        ([str(run.with_name("sed_0"))], f"did you mean {run}?"),
        ([str(tmp_path / "nothing")], "is not a directory"),
        ([str(damaged)], "weights.pt is damaged"),
        ([str(run), "--episodes", "0"], "--episodes"),
        ([str(run), "--seed", "-1"], "--seed"),
        ([str(run), "--output", str(tmp_path / "no" / "file")], "--output: "),
        ([str(run), "--output", str(tmp_path)], "--output: "),
    ]
    for arguments, words in cases:
        assert droq_exp("evaluate", *arguments, *([] if "--episodes" in arguments else ["--episodes", "1"])) == 2
        assert words in error_line(capsys)


def test_the_compiler_is_not_even_imported(run: Path) -> None:
    code = (
        "import atexit, sys; from droq_exp.cli.app import main; "
        "atexit.register(lambda: print(sorted({'torch._dynamo', 'torch._inductor', 'wandb'} & set(sys.modules)))); "
        f"main(['evaluate', {str(run)!r}, '--episodes', '1'])"
    )
    done = subprocess.run([PROGRAM[0], "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
