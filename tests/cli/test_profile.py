"""``droq-exp profile``: the tables, with real processes that measure."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import forks
import pytest
from real_runs import LITTLE_BIAS, SMALL
from run_files import droq_exp

pytestmark = pytest.mark.program


@pytest.fixture(autouse=True)
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that measure, without each importing torch."""

    def run(command: list[str], *, env: dict[str, str], **_: object) -> object:
        assert command[1] == "-P"
        return forks.run([command[0], *command[2:]], env=env)

    monkeypatch.setattr("droq_exp.cli.profile.subprocess", SimpleNamespace(run=run))


TINY = (*SMALL, LITTLE_BIAS, "--steps", "2")


def test_a_table_for_each_algorithm_and_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cost.json"
    arguments = [*TINY, "algo=sac,redq", "env=inverted_pendulum", "--json", str(path), "--markdown"]
    assert droq_exp("profile", *arguments) == 0
    out, error = capsys.readouterr()
    head, rule, sac, redq, empty, caption = out.splitlines()
    assert head.startswith(
        "| algo | env | ms per loop | ms in Q updates | ms per Q update | critics | actor | peak MB |"
    )
    assert rule.count("---:") == 6
    assert empty == ""
    assert caption == "cpu, 1 thread, native; codebase redq; medians of 2 environment steps."
    content = json.loads(path.read_text())
    for line, cell in zip((sac, redq), content["cells"], strict=True):
        _, algo, env, loop, updates, update, critics, *_ = [part.strip() for part in line.split("|")]
        assert (algo, env, cell["otherwise"]) == (cell["algo"], cell["env"], [])
        assert (loop, updates) == (f"{cell['loop_ms']:,.1f}", f"{cell['q_updates_ms']:,.1f}")
        assert update == f"{cell['q_update_ms']:,.2f}"
        assert critics == f"{cell['critic_parameters']:,}"
    assert content["cells"][1]["critic_parameters"] == 5 * content["cells"][0]["critic_parameters"]
    assert "torch" in content["versions"]
    assert [line[:5] for line in error.splitlines()] == ["[1/2]", "[2/2]"]
    assert [each.name for each in tmp_path.iterdir()] == ["cost.json"]


def test_a_cell_that_cannot_be_measured_is_told_and_the_others_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    memory = "training.replay_size=1000,1000000000000000"  # a petabyte
    assert droq_exp("profile", *TINY, "env=inverted_pendulum", memory) == 1
    out, error = capsys.readouterr()
    assert "droq (training.replay_size=1000) " in out  # what the sweep is over tells rows apart
    assert "inverted_pendulum" in out  # whole, where there is no terminal that it would not fit
    assert "not measured: " in error
    assert "memory" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["algo=drok"], "did you mean droq?"),
        (["--all", "algo.utd_ratio=0"], "sweep point: algo=crossq env=ant"),
        (["--all", "env=hopper", "algo.utd_ratio=0"], "sweep point: algo=crossq"),
        (["--steps", "0"], "--steps"),
        (["--json", "no/file"], "--json: no is not a directory"),
        (["--json", "/"], "--json: / is a directory"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert droq_exp("profile", *arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error
