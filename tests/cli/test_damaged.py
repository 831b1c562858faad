"""Files that are not what they should be: each is one line that names it, and the other runs go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_files import ENDED, STARTED, SUBMITTED, droq_exp, stand_in, write_job, write_run

from droq_exp.api import Run
from droq_exp.config import compose
from droq_exp.launch import main
from droq_exp.runs.files import DamagedError
from droq_exp.runs.identity import run_directory
from droq_exp.runs.results import checksums
from droq_exp.runs.score import seed_score

STATUS = {"state": "failed", "step": 50, "started": STARTED, "ended": ENDED, "total_steps": 100}
JOB = {"backend": "slurm", "job_id": "7_0", "submitted": SUBMITTED, "log": "/none", "overrides": ["seed=0"]}
LOCK = {"host": "h", "pid": 5, "process_start": 1, "restart_count": 0, "token": "a", "acquired": SUBMITTED}
BYTES: list[Any] = [b"", b"{", b"[]", b"\xff\xfe\0", b"[" * 100_000]
DAMAGED: list[tuple[str, Any]] = [
    *(("status.json", content) for content in BYTES),
    ("status.json", STATUS | {"ended": 5}),
    ("status.json", STATUS | {"ended": "2026-01-01T00:00:00"}),
    ("status.json", STATUS | {"started": "once"}),
    ("status.json", STATUS | {"step": 10**400}),
    ("status.json", STATUS | {"step": float("inf")}),
    ("status.json", STATUS | {"step": True}),
    ("status.json", STATUS | {"total_steps": -1}),
    ("status.json", STATUS | {"state": "asleep"}),
    ("status.json", STATUS | {"state": ["failed"]}),
    ("status.json", STATUS | {"error": "no more"}),
    ("status.json", STATUS | {"error": {"summary": "\ud800"}}),
    ("status.json", STATUS | {"overrides": [5]}),
    *(("job.json", content) for content in BYTES),
    *(("job.json", JOB | {"job_id": name}) for name in ("strange", "7_", "7_0;reboot", "", "\u0667")),
    *(("job.json", JOB | {"backend": "local", "job_id": name}) for name in ("7", "h:-1:1:started", "h:1:1:asleep")),
    ("job.json", JOB | {"backend": "cloud"}),
    ("job.json", JOB | {"submitted": "yesterday"}),
    ("job.json", JOB | {"log": "a\0b"}),
    ("lock.json", "a directory"),
]
TOLERATED: list[tuple[str, Any]] = [  # nothing depends on them that is asked here
    *(("lock.json", content) for content in BYTES),
    ("lock.json", LOCK | {"pid": -1}),
    ("lock.json", LOCK | {"pid": 10**30}),
    *((name, content) for name in ("eval.csv", "train.csv") for content in (b"\xff\0\n", b"step\n1e999\n2e999\n")),
    ("eval.csv", "a directory"),
    *(("config.yaml", content) for content in BYTES),
]


def _damage(path: Path, content: Any) -> None:
    path.unlink(missing_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.mkdir()
    else:
        path.write_text(json.dumps(content))


@pytest.fixture
def sweep(tmp_path: Path, commands: Path) -> Path:
    """A run with each damage, and a good one that runs."""
    stand_in(commands, "squeue", "7_0 RUNNING\n7_1 RUNNING\n")
    stand_in(commands, "scancel", "")
    root = tmp_path / "outputs" / "paper" / "redq" / "droq" / "hopper"
    for seed, (name, content) in enumerate([*DAMAGED, *TOLERATED]):
        _damage(write_run(root / f"seed_{seed}", "running") / name, content)
    write_job(write_run(root / "seed_1000", "running"), "7_1")
    return tmp_path / "outputs"


@pytest.mark.program
def test_one_odd_file_is_one_line_and_the_other_runs_go_on(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert droq_exp("status", str(sweep), "--json") == 0
    told = json.loads(capsys.readouterr().out)["runs"]
    for run, (name, content) in zip(told, DAMAGED, strict=False):
        assert (run["state"], f"/{name} " in (run["error"] or "")) == ("failed", True), (name, content, run["error"])
    states = [run["state"] for run in told[len(DAMAGED) :]]
    assert states.count("running") == len(BYTES) + 3  # by a lock that somebody has just written, whatever it says
    assert states.count("vanished") == len(TOLERATED) + 1 - states.count("running")
    for command, code in (("status", 0), ("cancel", 1), ("retry", 1), ("report", 0)):
        assert droq_exp(command, str(sweep)) == code, command
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err, command
        if command == "retry":
            lines = [line for line in err.splitlines() if line.startswith("not retried: ")]
            assert len(lines) == err.count("\n") == int(out.split()[0])
            assert sum(" is damaged (" in line or " cannot be read: " in line for line in lines) == len(DAMAGED)
    assert json.loads((sweep / "paper/redq/droq/hopper/seed_1000/job.json").read_text())["cancelled"] is not None


def test_an_unreadable_lock_is_one_line(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["debug=default", "env=inverted_pendulum", "hardware=cpu", "seed=0"]
    lock = run_directory(*compose(command), 0) / "lock.json"
    lock.mkdir(parents=True)
    with pytest.raises(SystemExit) as leaving:
        main(command)
    assert leaving.value.code == 2
    assert capsys.readouterr().err == f"error: {lock} cannot be used: Is a directory\n"


@pytest.mark.program
@pytest.mark.parametrize("hardware", [["hardware=cpu"], ["-m", "hardware=cpu"], ["hardware=cpu_parallel"]])
@pytest.mark.parametrize(
    ("name", "content"),
    [("status.json", b"{"), ("config.yaml", b""), ("config.yaml", b"\xff\xfe\0"), ("config.yaml", b"identity: 5\n")],
)
def test_no_run_begins_in_a_directory_with_a_damaged_file(
    name: str, content: bytes, hardware: list[str], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["debug=default", "env=inverted_pendulum", "seed=0"]
    directory = run_directory(*compose(command), 0)
    directory.mkdir(parents=True)
    _damage(directory / name, content)
    with pytest.raises(SystemExit) as leaving:
        main([*command, *hardware])
    assert leaving.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert str(directory / name) in error
    assert [path.name for path in directory.iterdir()] == [name]


def _done(directory: Path, seed: int = 0) -> Path:
    """A run that is done, with the checksums of its tables."""
    run = write_run(directory / "e" / "redq" / "sac" / "hopper" / f"seed_{seed}", "finished")
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"results": checksums(run)}))
    return run


@pytest.mark.parametrize("kind", ["changed", "cut", "deleted", "grown"])
def test_a_result_that_has_changed_since_is_none(
    kind: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither for who looks, nor for a report, a comparison, a sweeper or the API."""
    other, run = _done(Path("outputs", "other")), _done(Path("outputs", "this"))
    table = run / "eval.csv"
    text = table.read_text()
    assert ",5.5," in text
    table.write_text(
        {
            "changed": text.replace(",5.5,", ",95.5,"),
            "cut": text[: text.index("5000")],
            "grown": text + "6000,9,0,9\n",
        }.get(kind, "")
    )
    if kind == "deleted":
        table.unlink()
    assert droq_exp("status", "--json", "outputs/this") == 0
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert (told["state"], told["last_return"]) == ("failed", None)
    assert told["error"].startswith("was done, but eval.csv is damaged since")
    assert droq_exp("report", "outputs/this") == 0
    page = next(Path("outputs").rglob("report/*.html")).read_text()
    assert "eval.csv: left out, changed since the run was done" in page
    capsys.readouterr()
    assert droq_exp("compare", "outputs/other", "outputs/this") == 2
    assert "no evaluated seed in common" in capsys.readouterr().err
    with pytest.raises(DamagedError, match="changed since the run was done"):
        seed_score(run, "last")
    with pytest.raises(DamagedError, match="changed since the run was done"):
        _ = Run(run, 0, "finished", None, None).evaluations
    assert seed_score(other, "last") == 5.5
