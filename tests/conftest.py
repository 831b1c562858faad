"""Fixtures that several test modules share."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import torch
from wandb_server import FakeServer, QuietServer
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

LONGEST = ("slurm", "page", "jobs", "learner", "training", "launch", "tests")  # folders, in this order
MEMORY = Path("/dev/shm")  # as a disk: a run waits for its disk 60 times, however short it is
ROOM = 4 * 2**30  # bytes; they take a tenth
MARKED = {"slurm": pytest.mark.slurm, "page": pytest.mark.browser}


def pytest_configure() -> None:
    """One thread: the tests' tensors are small, and threads that wait for each other cost more than they save.

    What they write lies in memory, where that can be. And Ctrl-C and a terminal's end count: what is started in the
    background of a shell, or by nohup, ignores them, and so would all that the tests start.
    """
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
    torch.set_num_threads(1)
    if _is_roomy(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def _is_roomy(directory: Path) -> bool:
    """Whether the tests' runs fit there, and what they compile there may be executed."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize > ROOM and not found.f_flag & os.ST_NOEXEC


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes, and a third where all tests run: those of SLURM wait for it more than they compute."""
    return 2 if config.option.file_or_dir or "not slurm" in config.option.markexpr else 3


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Each module's tests stay in one process, for its fixtures are made once; all of SLURM's do."""
    return ByModule(config, log)


class ByModule(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        return str(path.parent if path.parent.name == "slurm" else path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first; the folders of SLURM's tests and of the page's are their markers; slow ones take long."""
    items.sort(key=lambda item: LONGEST.index(item.path.parent.name) if item.path.parent.name in LONGEST else 99)
    for item in items:
        if item.path.parent.name in MARKED:
            item.add_marker(MARKED[item.path.parent.name])
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(autouse=True)
def its_own_directory() -> Iterator[None]:
    """No test leaves anything in the directory that pytest was started in, nor finds there what another has left."""
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        yield


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, in which only ``outputs/`` may appear; torch's threads are put back afterwards."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    threads = torch.get_num_threads()
    with monkeypatch.context() as patch:
        patch.chdir(directory)
        yield directory
    torch.set_num_threads(threads)
    assert set(os.listdir(directory)) <= {"outputs"}


@pytest.fixture
def wandb_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Keep the user's wandb settings, login and caches out of it; a closed port is the server."""
    import wandb

    from droq_exp.loggers import wandb as wandb_logger

    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(wandb_logger, "_refusal", None)
    working = tmp_path / "working_directory"
    working.mkdir()
    monkeypatch.chdir(working)
    wandb.teardown()  # the environment is read when a session starts
    yield monkeypatch
    wandb.teardown()
    assert not list(working.iterdir())


@pytest.fixture
def server() -> Iterator[QuietServer]:
    FakeServer.requests, FakeServer.silent = [], False
    server = QuietServer(("127.0.0.1", 0), FakeServer)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small disk of its own, the current directory is on it."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting takes root")
    try:
        with monkeypatch.context() as patch:
            patch.chdir(place)
            yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
