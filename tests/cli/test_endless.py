"""``droq-exp play`` and ``evaluate`` of a run whose episodes do not end: a signal ends the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import odd_env
import pytest
import yaml
from forks import Python
from real_runs import train_in
from run_files import ENVIRONMENT

pytestmark = pytest.mark.program

PLAYED = r"""
import os, odd_env
from droq_exp.agent.agent import Agent
from droq_exp.cli.app import main
act = Agent.act
def told(self, *arguments):
    os.write(1, b"acting\n")  # evaluate has stdout of its own
    Agent.act = act
    return act(self, *arguments)
Agent.act = told
main()
"""


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    command = ("env=gym", "env.id=Endless-v0", "env.max_episode_steps=10", "codebase=ku", "training.total_steps=50")
    (run,) = train_in(tmp_path_factory.mktemp("endless") / "here", *command)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["env"]["max_episode_steps"] = config["identity"]["env.max_episode_steps"] = 1_000_000_000
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return run


@pytest.mark.parametrize("command", ["play", "evaluate"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it(command: str, number: signal.Signals, code: int, endless: Path) -> None:
    helpers = str(Path(odd_env.__file__).parent)
    variables = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([ENVIRONMENT["PYTHONPATH"], helpers])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = Python([sys.executable, "-c", PLAYED, command, str(endless)], env=variables, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "acting\n"
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (code, "", "")
