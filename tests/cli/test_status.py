"""``droq-exp status``, on directories as runs leave them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from run_files import ENVIRONMENT, PROGRAM, droq_exp, error_line, stand_in, write_job, write_run


@pytest.fixture
def sweep(tmp_path: Path, commands: Path) -> Path:
    """A run of every state."""
    calls = stand_in(commands, "squeue", "7_0 RUNNING\n7_1 PENDING\n7_2 PENDING\n")
    root = tmp_path / "outputs" / "paper" / "redq" / "droq" / "hopper"
    write_run(root / "seed_0", "finished", step=10_000, evaluations=10)
    write_run(root / "seed_1", "running")
    write_job(root / "seed_1", "7_0", "seed=1")
    write_job(root / "seed_2", "7_1", "seed=2", "training.total_steps=20000")
    write_run(root / "seed_3", "failed", error="RuntimeError: no more")
    write_run(root / "seed_4", "interrupted", error="interrupted by SIGTERM")
    write_run(root / "seed_10", "running")
    write_job(root / "seed_10", "6_3", "seed=10", log=str(tmp_path / "job.err"))
    (tmp_path / "job.err").write_text("Starting\nslurmstepd: error: oom_kill\x07\n\n")
    write_job(root / "seed_11", "6_4", "seed=11")
    assert calls.read_text() == ""
    return tmp_path / "outputs"


def _json(directory: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert droq_exp("status", str(directory), "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_every_state(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = _json(sweep, capsys)
    states = [(run["name"].rpartition("/")[2], run["state"]) for run in told["runs"]]
    expected = ["finished", "running", "queued", "failed", "interrupted", "vanished", "vanished"]
    assert states == [(f"seed_{seed}", state) for seed, state in zip([0, 1, 2, 3, 4, 10, 11], expected, strict=True)]
    counts = {"finished": 1, "running": 1, "queued": 1, "interrupted": 1, "vanished": 2, "failed": 1}
    assert (told["counts"], told["problem"]) == (counts, None)
    done, running, queued, failed, _, vanished, never = told["runs"]
    assert (done["step"], done["last_return"], done["seconds_left"]) == (10_000, 10.5, None)
    assert (running["step"], running["last_return"], running["seconds_left"]) == (5_000, 5.5, 50.0)
    assert (queued["total_steps"], queued["last_return"], queued["error"]) == (20_000, None, None)
    assert (failed["error"], Path(failed["log"]).name) == ("RuntimeError: no more", "train.log")
    assert vanished["error"] == "its job 6_3 is gone without reporting an end: slurmstepd: error: oom_kill"
    assert Path(vanished["log"]).name == "job.err"
    assert ("6_4" in never["error"], never["log"]) == (True, None)


def test_the_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert droq_exp("status", str(sweep)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    runs = "paper/redq/droq/hopper"
    assert lines[0] == ["run", "state", "step", "%", "return", "left"]
    assert lines[1] == [f"{runs}/seed_0", "done", "10,000", "100%", "10.5", "-"]
    assert lines[2] == [f"{runs}/seed_1", "running", "5,000", "50%", "5.5", "0:50"]
    assert lines[3] == [f"{runs}/seed_2", "queued", "0", "0%", "-", "-"]
    problems = [" ".join(line) for line in lines[8:-1]]
    log = sweep / runs / "seed_3" / "train.log"
    assert problems[0] == f"failed: {runs}/seed_3: RuntimeError: no more (see {log})"
    assert [line.partition(":")[0] for line in problems] == ["failed", "interrupted", "vanished", "vanished"]
    counted = "7 runs: 1 done, 1 running, 1 queued, 1 interrupted, 2 vanished, 1 failed"
    assert " ".join(lines[-1]) == counted


def test_why_a_run_has_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reason = "early_stop: return 3,001.0 above 3,000"
    write_run(tmp_path / "seed_0", "stopped", reason=reason)
    (told,) = _json(tmp_path, capsys)["runs"]
    assert (told["state"], told["reason"], told["error"], told["log"]) == ("stopped", reason, None, None)
    assert droq_exp("status", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["seed_0", "stopped", "5,000", "50%", "5.5", "-"]
    assert lines[2:] == [f"stopped: seed_0: {reason}", "1 run: 1 stopped"]


def test_no_text_of_a_directory_steers_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "seed_0\x1b[31m", "failed", error="\x1b]0;title\x07lost \u00e9\n")
    write_run(tmp_path / "seed_1", "stopped", reason="\x1b[2J")
    assert droq_exp("status", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "\x1b]" not in out
    assert "\x1b[" not in out
    assert "\\x1b]0;title\\x07lost \u00e9\\n" in out


def test_any_level_and_any_current_directory(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sweep / "paper" / "redq" / "droq" / "hopper" / "seed_3"
    assert [each["name"] for each in _json(run, capsys)["runs"]] == ["seed_3"]
    monkeypatch.chdir(run)
    assert [each["name"] for each in _json(Path(), capsys)["runs"]] == ["seed_3"]
    monkeypatch.chdir(sweep)
    assert len(_json(Path("paper"), capsys)["runs"]) == 7


def test_what_a_symbolic_link_leads_to_is_seen_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs, elsewhere = tmp_path / "outputs", tmp_path / "scratch" / "moved"
    write_run(outputs / "here" / "seed_0", "failed")
    write_run(elsewhere / "droq" / "seed_1", "failed")
    (outputs / "there").symlink_to(elsewhere)
    (outputs / "a_second_name").symlink_to(outputs / "here")
    (elsewhere / "circle").symlink_to(outputs)
    (outputs / "broken").symlink_to(tmp_path / "nowhere")
    assert [run["name"] for run in _json(outputs, capsys)["runs"]] == ["here/seed_0", "there/droq/seed_1"]


def test_a_queue_that_does_not_answer_is_never_taken_for_an_empty_one(
    sweep: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (commands / "squeue").unlink()
    calls = stand_in(commands, "squeue", "", code=1)
    told = _json(sweep, capsys)
    assert told["counts"] == {"finished": 1, "interrupted": 1, "failed": 1, "unknown": 4}
    assert told["problem"] == "squeue ended with code 1"
    assert len(calls.read_text().splitlines()) == 1
    droq_exp("status", str(sweep))
    assert "the queue does not answer: squeue ended with code 1" in capsys.readouterr().out


def test_damaged_files_are_failures_that_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (write_run(tmp_path / "a" / "seed_0", "finished", step=10_000) / "status.json").write_text("{")
    (write_run(tmp_path / "a" / "seed_1", "finished", step=10_000) / "job.json").write_text("[]")
    first, second = _json(tmp_path, capsys)["runs"]
    assert first["state"] == second["state"] == "failed"
    assert "status.json is damaged" in first["error"]
    assert "job.json" in second["error"]


def test_the_time_left_is_told_once_there_are_updates(
    tmp_path: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(commands, "squeue", "7_0 RUNNING\n7_1 RUNNING\n7_2 RUNNING\n")
    for evaluations in (0, 1, 2):
        write_run(tmp_path / f"seed_{evaluations}", "running", evaluations=evaluations)
        write_job(tmp_path / f"seed_{evaluations}", f"7_{evaluations}")
    left = [run["seconds_left"] for run in _json(tmp_path, capsys)["runs"]]
    assert left == [None, None, 80.0]


def test_the_time_left_counts_phases_without_environment_steps(
    tmp_path: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(commands, "squeue", "7_0 RUNNING\n7_1 RUNNING\n")
    for number, made in enumerate((0, 500)):
        run = write_run(tmp_path / f"seed_{number}", "running", evaluations=0)
        (run / "train.csv").write_text(
            "step,updates,sample_seconds,update_seconds,phase_seconds,wall_seconds\n"
            "1000,0,0.0,0.0,0.0,1.0\n"
            f"2000,{1000 + made},1.0,3.0,{made / 50},{11.0 + made / 50}\n"
        )
        phases = {"offline": {"updates": made, "of": 2000, "seconds": made / 50}}
        (run / "status.json").write_text(json.dumps(json.loads((run / "status.json").read_text()) | {"phases": phases}))
        write_job(run, f"7_{number}")
    left = [run["seconds_left"] for run in _json(tmp_path, capsys)["runs"]]
    # 8,000 steps of 10 ms; before the first phase 2,000 updates of 4 ms, as ordinary ones take, then 1,500 of 20.
    assert left == pytest.approx([88.0, 110.0])


def test_a_half_written_evaluation_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "seed_0", "interrupted", evaluations=300)
    for end in ("301000,77", "301000,77\n"):
        text = (run / "eval.csv").read_text()
        (run / "eval.csv").write_text(text + end)
        assert _json(tmp_path, capsys)["runs"][0]["last_return"] == 300.5
        (run / "eval.csv").write_text(text)
    (run / "eval.csv").write_text("step,return_mean")
    assert _json(tmp_path, capsys)["runs"][0]["last_return"] is None


def test_watching_ends_with_the_last_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "seed_0", "finished", step=10_000)
    assert droq_exp("status", str(tmp_path), "--watch") == 0
    assert capsys.readouterr().out.count("1 run: 1 done") == 1


@pytest.mark.program
def test_a_thousand_runs_need_one_look_at_the_queue(
    tmp_path: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = ["finished", "running", "failed", "running", None]
    runs = [
        tmp_path / "outputs" / algo / env / f"seed_{seed}" for algo in "abcde" for env in "wxyz" for seed in range(50)
    ]
    for number, run in enumerate(runs):
        state = states[number % 5]
        write_run(run, state, step=10_000 if state == "finished" else 5_000, evaluations=300, error="no more")
        write_job(run, f"9_{number}", "seed=0")
    alive = [number for number in range(1000) if number % 5 == 1]
    waiting = [number for number in range(1000) if number % 10 == 4]
    queue = [f"9_{number} RUNNING" for number in alive] + [f"9_{number} PENDING" for number in waiting]
    calls = stand_in(commands, "squeue", "\n".join(queue))
    told = _json(tmp_path / "outputs", capsys)
    assert told["counts"] == {"finished": 200, "running": 200, "queued": 100, "vanished": 300, "failed": 200}
    assert len(calls.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing command"),
        (["statu"], "Did you mean 'status'"),
        (["train", "algo=sac"], "droq-exp-train trains"),
        (["status"], "Missing argument"),
        (["status", "outpts"], "outpts is not a directory; did you mean outputs?"),
        (["status", "/" + 4000 * "x"], "File name too long"),
        (["status", "--watchh"], "see droq-exp status --help"),
        (["status", "outputs"], "outputs has no runs"),
        (["status", "outputs", "--jsn"], "--jsn"),
        (["status", "outputs", "--json", "--watch"], "--watch and --json cannot be combined"),
        (["cancel", "outputs"], "outputs has no runs"),
    ],
)
def test_a_wrong_command_is_one_line_and_code_2(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert droq_exp(*arguments) == 2
    assert words in error_line(capsys)


def test_help_and_status_import_nothing_heavy(tmp_path: Path) -> None:
    write_run(tmp_path / "seed_0", "finished", step=10_000)
    heavy = "sorted({'torch', 'hydra', 'omegaconf', 'gymnasium', 'submitit', 'numpy'} & set(sys.modules))"
    for arguments in (["--help"], ["status", str(tmp_path)]):
        code = (
            "import atexit, sys; from droq_exp.cli.app import main; "
            f"atexit.register(lambda: print({heavy})); main({arguments!r})"
        )
        done = subprocess.run([PROGRAM[0], "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines()[-1] == "[]"
