"""A process that stood still for minutes finds its run taken over by another host: it changes nothing any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from forks import Python
from real_runs import (
    LITTLE_BIAS,
    ROOT,
    SMALL,
    assert_same,
    contents,
    log_text,
    only_run,
    status,
    taken_for_dead,
    train,
    train_in,
    wait_for,
)

pytestmark = pytest.mark.program

COMMAND = ("env=inverted_pendulum", LITTLE_BIAS, "checkpoint.interval=30", "training.total_steps=200")
# Stops itself when a file whose name has this word is on disk for the second time, and not yet in its place.
STOPS_ITSELF = """
import os, signal, sys
from droq_exp.launch import main
from droq_exp.training.loop import TrainingLoop
word, left, fsync, act = sys.argv[1], [2], os.fsync, TrainingLoop._act
def stop():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
def stop_after(descriptor):
    fsync(descriptor)
    if word in os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")):
        stop()
def stop_before(self, random):
    if word == "a step" and self.step == 130:
        left[0] = 1
        stop()
    act(self, random)
os.fsync, TrainingLoop._act = stop_after, stop_before
main(sys.argv[2:])
"""


@pytest.fixture(autouse=True)
def directory(elsewhere: Path) -> Path:
    return elsewhere


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (run,) = train_in(tmp_path_factory.mktemp("place") / "whole", *COMMAND)
    return run


def start_stopping(directory: Path, word: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
    return Python(
        [sys.executable, "-c", STOPS_ITSELF, word, *SMALL, *COMMAND],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def stands_still(process: subprocess.Popen[str]) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("moment", ["a step", "weights.pt", "train.csv", "status.json", "replay.bin", "state_"])
def test_who_was_taken_for_dead_writes_nothing(moment: str, directory: Path, whole: Path) -> None:
    stale = start_stopping(directory, moment)
    wait_for(lambda: stands_still(stale), stale)
    taken_for_dead(only_run(directory))
    assert train(*COMMAND) == 0
    assert_same(only_run(), whole)
    after = contents(only_run())
    stale.send_signal(signal.SIGCONT)
    _, error = stale.communicate(timeout=60)
    assert contents(only_run()) == after
    assert stale.returncode == 75
    assert error.splitlines()[-1].startswith(f"{only_run()}: another process has taken over this run")
    assert "Traceback" not in error
    assert status(only_run())["state"] == "finished"
    assert "WARNING" not in log_text(only_run())
    assert not list(only_run().rglob(".*.tmp"))
