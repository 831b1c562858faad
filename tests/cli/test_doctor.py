"""``droq-exp doctor``: a line for each thing with what to do, and whether training works."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from run_files import droq_exp

from droq_exp.cli import doctor
from droq_exp.evaluation.rendering import RenderingError
from droq_exp.jobs.queue import QueueUnreachableError

NAMES = ["disk", "packages", "MuJoCo", "processor", "C++", "GPU", "OpenGL", "SLURM", "wandb", "extras", "training"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty directory, where the other processes find nothing wrong and no GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "_python", lambda *arguments, **_: subprocess.CompletedProcess(arguments, 0, "", ""))
    monkeypatch.setattr(doctor, "use_offscreen", lambda: "egl")


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, tuple[str, str, str]]:
    """State, what was found and what to do, by name."""
    assert droq_exp("doctor", *arguments, "--json") == code
    content = json.loads(capsys.readouterr().out)
    assert content["works"] == (code == 0)
    return {each["name"]: (each["state"], each["found"], each["todo"]) for each in content["findings"]}


def test_a_line_for_each_thing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert droq_exp("doctor") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == NAMES
    assert {line.split()[0] for line in lines} <= {"ok", "absent"}
    assert last == "training works here"
    assert not list(tmp_path.iterdir())


def test_what_training_does_without_is_told_with_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "versions", lambda: {"torch": "2", "mujoco": "3.4.0"})

    def broken() -> str:
        raise RenderingError("MuJoCo cannot draw here; Debian packages")

    monkeypatch.setattr(doctor, "use_offscreen", broken)
    found = told(capsys)
    for name, words in {
        "MuJoCo": "pip install 'mujoco<3.3.6'",
        "processor": "OMP_NUM_THREADS",
        "C++": "droq-exp build",
        "SLURM": "hardware=cpu_parallel",
    }.items():
        assert found[name][0] == "absent"
        assert words in found[name][2]
    assert found["OpenGL"] == ("absent", "MuJoCo cannot draw here; Debian packages", "")


def test_training_that_does_not_work_is_the_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: str, **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 1, "", "Traceback ...\nImportError: libtorch\n")

    monkeypatch.setattr(doctor, "_python", failing)
    found = told(capsys, code=1)
    assert found["training"][:2] == ("broken", "ImportError: libtorch")
    assert found["wandb"][0] == "absent"
    assert told(capsys, "/proc/x", code=1)["disk"][0] == "broken"


def test_nothing_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(doctor, "PATIENCE", 0.2)
    assert str(doctor._python("-c", "import time; time.sleep(60)")).startswith("no answer within")


def test_a_busy_machine_is_no_broken_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_python", lambda *_, **__: doctor._Silence("no answer within 90 s"))
    assert doctor.doctor(Path("outputs"), as_json=False) == 1
    out = capsys.readouterr().out
    assert out.endswith("training could not be checked\n")
    assert [line.split()[1] for line in out.splitlines() if line.startswith("unknown")] == ["GPU", "wandb", "training"]


def test_slurms_answer_is_its_partitions(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "partitions", lambda: ["cpu*", "gpu"])
    assert told(capsys)["SLURM"] == ("ok", "partitions cpu*, gpu", "")

    def silent() -> list[str]:
        raise QueueUnreachableError("sinfo has not answered for 30 s")

    monkeypatch.setattr(doctor, "partitions", silent)
    assert told(capsys)["SLURM"][:2] == ("absent", "sinfo has not answered for 30 s")
