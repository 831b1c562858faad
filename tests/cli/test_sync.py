"""``droq-exp sync``, on wandb's files as a real command writes them, and on a stand-in for its server."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

import pytest
from real_runs import LITTLE_BIAS, only_run, train
from run_files import droq_exp, write_run
from wandb_server import FakeServer, QuietServer, log_in

from droq_exp.loggers import wandb_files
from droq_exp.runs.lock import RunLock

pytestmark = pytest.mark.program

OVERRIDES = (
    "env=inverted_pendulum",
    "logger=wandb",
    "logger.wandb.project=mine",
    "checkpoint.keep_replay=true",
    LITTLE_BIAS,
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a run of 100 steps, extended to 150: two run files of one wandb id."""
    import wandb

    directory = tmp_path_factory.mktemp("wandb")
    with contextlib.chdir(directory):
        assert train(*OVERRIDES) == 0
        (first,) = only_run().glob("wandb/offline-run-*")
        while time.strftime("%Y%m%d_%H%M%S") in first.name:  # wandb names its directories by the second
            time.sleep(0.05)
        assert train(*OVERRIDES, "training.total_steps=150") == 0
    wandb.teardown()  # waits for the process that writes the files
    return directory / "outputs"


@pytest.fixture
def outputs(original: Path, tmp_path: Path, wandb_session: pytest.MonkeyPatch) -> Path:
    return Path(shutil.copytree(original, tmp_path / "outputs", symlinks=True))


def test_what_a_real_run_logged_is_read_back(outputs: Path) -> None:
    first, second = map(wandb_files.read, wandb_files.find(outputs))
    assert first.run_id == second.run_id
    assert (first.project, first.steps, first.exit_code) == ("mine", (50, 100), 0)
    assert (second.steps, second.exit_code, second.synced) == ((150,), 0, False)


def test_a_dry_run_tells_and_touches_nothing(
    outputs: Path, server: QuietServer, wandb_session: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(wandb_session, f"http://127.0.0.1:{server.server_port}")
    before = sorted(outputs.rglob("*"))
    assert droq_exp("sync", str(outputs), "--dry-run") == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert "seed_0/wandb/offline-run-" in first
    assert first.startswith("to upload ")
    assert first.endswith("2 rows to step 100, finished")
    assert second.endswith("1 rows to step 150, finished")
    assert last == "2 offline runs: 2 to upload"
    assert server.connections == 0
    assert sorted(outputs.rglob("*")) == before


def test_every_row_is_uploaded_once(
    outputs: Path, server: QuietServer, wandb_session: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(wandb_session, f"http://127.0.0.1:{server.server_port}")
    assert droq_exp("sync", str(outputs), "--project", "theirs", "--entity", "someone") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 offline runs: 2 uploaded"
    assert _uploaded_steps(outputs) == [50, 100, 150]
    starts = [body["variables"] for _, body in FakeServer.requests if "upsertBucket" in body.get("query", "")]
    assert (starts[0]["project"], starts[0]["entity"]) == ("theirs", "someone")
    assert len({start["name"] for start in starts}) == 1
    FakeServer.requests.clear()
    assert droq_exp("sync", str(outputs)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 offline runs: 2 uploaded before"
    assert FakeServer.requests == []


def _uploaded_steps(outputs: Path) -> list[int]:
    """Of the rows on the server, in their order."""
    rows = FakeServer.history(wandb_files.find(outputs)[0].stem.removeprefix("run-"))
    return [rows[number]["_step"] for number in range(len(rows))]


def test_what_can_be_read_of_damaged_files_is_uploaded(
    outputs: Path, server: QuietServer, wandb_session: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(wandb_session, f"http://127.0.0.1:{server.server_port}")
    first, second = wandb_files.find(outputs)
    first.write_bytes(b"\0" * 100)
    second.write_bytes(second.read_bytes()[:-1])  # as a killed process leaves it
    assert droq_exp("sync", str(outputs)) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("damaged")
    assert "is no run file of wandb" in out[0]
    assert out[1].endswith("150, cut off")
    assert out[-1] == "2 offline runs: 1 uploaded in part, 1 damaged"
    assert _uploaded_steps(outputs) == [150]


def test_a_run_that_was_killed_and_resumed_is_uploaded_whole(
    outputs: Path, server: QuietServer, wandb_session: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(wandb_session, f"http://127.0.0.1:{server.server_port}")
    first, _ = wandb_files.find(outputs)
    first.write_bytes(first.read_bytes()[:-1])
    assert droq_exp("sync", str(outputs)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 offline runs: 1 uploaded, 1 uploaded in part"
    assert _uploaded_steps(outputs) == [50, 100, 150]
    assert droq_exp("sync", str(outputs)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 offline runs: 2 uploaded before"
    assert _uploaded_steps(outputs) == [50, 100, 150]


def test_a_file_that_wandb_was_killed_over_is_no_failure(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = wandb_files.find(outputs)
    first.write_bytes(first.read_bytes()[: wandb_files.HEADER_BYTES])
    assert droq_exp("sync", str(outputs), "--dry-run") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("empty ")
    assert "has no record" in out[0]
    assert out[-1] == "2 offline runs: 1 to upload, 1 empty"


def test_a_run_that_is_still_trained_is_left_alone(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = wandb_files.find(outputs)
    second.write_bytes(second.read_bytes()[:-1])
    with RunLock.acquire(first.parents[2]):
        assert droq_exp("sync", str(outputs), "--dry-run") == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in out[:2]] == ["to upload", "still running"]


def test_an_upload_that_hangs_is_given_up(
    outputs: Path, server: QuietServer, wandb_session: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(wandb_session, f"http://127.0.0.1:{server.server_port}")
    FakeServer.silent = True
    assert droq_exp("sync", str(outputs), "--time-limit", "1") == 1
    out = capsys.readouterr().out.splitlines()
    assert out[2].startswith("failed")
    assert out[2].endswith("not finished within 1 s")
    assert out[3].endswith("skipped: the part before it failed")
    assert out[-1] == "2 offline runs: 2 failed"


def test_what_cannot_be_synced_is_told_in_one_line(
    outputs: Path, tmp_path: Path, wandb_session: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "plain" / "seed_0", "finished")
    (tmp_path / "empty").mkdir()
    cases = [
        (tmp_path / "plain", "has no offline wandb runs; logger=wandb makes them"),
        (tmp_path / "empty", "has no runs"),
        (tmp_path / "outputz", f"did you mean {outputs}?"),
        (outputs, "not logged in to wandb"),
    ]
    for directory, words in cases:
        assert droq_exp("sync", str(directory)) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert words in error
    log_in(wandb_session)
    assert droq_exp("sync", str(outputs)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: wandb's server http://127.0.0.1:9 does not answer: ")
    assert error.count("\n") == 1
