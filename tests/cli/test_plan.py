"""``droq-exp plan``: what it says of runs of every state, and that it leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_files import droq_exp, error_line, stand_in, write_job, write_run

from droq_exp.config import compose
from droq_exp.runs.code import code_of
from droq_exp.runs.identity import identity
from droq_exp.runs.takeover import FORMAT

pytestmark = pytest.mark.usefixtures("commands")  # no cluster of other tests is asked
RUNS = Path("outputs", "paper_redq", "redq", "droq", "hopper")
SWEEP = ["experiment=paper_redq", "algo=droq", "env=hopper", "hardware=slurm_gpu", "hardware.partition=a100"]


def _made(seed: int, state: str, **more: Any) -> Path:
    """A run of the sweep, as ``write_run`` makes it, whose config.yaml says so."""
    config, _ = compose([*SWEEP[:3], f"seed={seed}"])
    told = {"seed": seed, "format": FORMAT, "identity": identity(config), "code": code_of(config)}
    directory = write_run(RUNS / f"seed_{seed}", state, **more)
    (directory / "config.yaml").write_text(yaml.safe_dump(told))
    return directory


NODES = "a100*|8|64000|gpu:a100:4(S:0-1)|1-00:00:00\ncpu|64|500000|(null)|infinite\n"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("hardware.partition=a10", "hardware.partition: 'a10' is no partition of this cluster; it has a100, cpu"),
        ("hardware.cpus=9", "hardware.cpus: 9: no node in partition a100 has more than 8 CPUs"),
        ("hardware.memory_gb=63", "hardware.memory_gb: 63.0: no node in partition a100 has more than 64,000 MB"),
        ("hardware.gpus_per_node=5", "hardware.gpus_per_node: 5: no node in partition a100 has more than 4 GPUs"),
        ("hardware.hours=25", "hardware.hours: 25.0: no node in partition a100 has more than 1,440 minutes for a job"),
        ("hardware.partition=null hardware.cpus=9", "hardware: no node here has what hardware.cpus, memory_gb"),
    ],
)
def test_what_no_node_will_ever_give_is_refused(
    asked: str, told: str, elsewhere: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(commands, "sinfo", NODES)
    assert droq_exp("plan", *SWEEP, *asked.split()) == 2
    assert error_line(capsys).startswith(f"error: {told}")
    within = ("hardware.cpus=8", "hardware.memory_gb=62", "hardware.gpus_per_node=4", "hardware.hours=24")
    assert droq_exp("plan", *SWEEP, *within) == 0


def test_a_home_that_the_shell_did_not_expand_is_refused_as_by_launch(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert droq_exp("plan", *SWEEP[:3], 'output_dir="~/x"') == 2
    assert "the shell did not expand it" in error_line(capsys)


def _lines(capsys: pytest.CaptureFixture[str], *overrides: str) -> list[str]:
    assert droq_exp("plan", *overrides) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_every_state_is_planned_for(elsewhere: Path, commands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in(commands, "squeue", "7_0 RUNNING\n")
    _made(0, "finished", step=125_000)
    _made(1, "running")
    write_job(RUNS / "seed_1", "7_0", "seed=1")
    checkpoint = _made(2, "failed", error="no more") / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "state_000005000.pt").touch()
    _made(4, "running")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    lines = _lines(capsys, *SWEEP, "hardware.seeds_per_job=2", "hardware.hours=10")
    assert lines[1:6] == [
        "paper_redq/redq/droq/hopper/seed_0 done skipped",
        "paper_redq/redq/droq/hopper/seed_1 running left alone",
        "paper_redq/redq/droq/hopper/seed_2 failed resumed in job 1",
        "paper_redq/redq/droq/hopper/seed_3 missing started in job 1",
        "paper_redq/redq/droq/hopper/seed_4 vanished started over in job 2",
    ]
    assert lines[6] == "5 runs: 1 done, 1 running, 1 failed, 1 vanished, 1 missing"
    assert lines[7:] == [
        "1 x partition a100, 1 GPU, 4 CPU, 16 GB, 10 h, 2 seeds",
        "1 x partition a100, 1 GPU, 4 CPU, 16 GB, 10 h, 1 seed",
        "2 jobs would be submitted; at most 20 GPU hours and 80 CPU hours before a requeue",
    ]
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_without_jobs(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _lines(capsys, "experiment=paper_redq", "algo=droq", "env=hopper", "seed=0,1")
    assert lines[1].endswith("missing started here")
    assert lines[-1] == "2 runs would be trained here, one after another"
    lines = _lines(capsys, "algo=sac", "hardware=cpu_parallel", "hardware.jobs=3")
    assert lines[-2:] == ["1 x a process on this machine, 3 at once, 1 seed", "1 job would be submitted"]
    assert os.listdir(elsewhere) == []


def test_nothing_to_do(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _made(0, "finished", step=125_000)
    _made(1, "stopped")
    lines = _lines(capsys, *SWEEP, "seed=0,1")
    assert [line.split()[1:] for line in lines[1:3]] == [["done", "skipped"], ["stopped", "skipped"]]
    assert lines[3:] == ["2 runs: 1 done, 1 stopped", "nothing to do"]
    assert "started over in job 1" in _lines(capsys, *SWEEP, "seed=1", "training.restart=true")[1]


@pytest.mark.parametrize("name", ["100%j", "a\\\\b"])
def test_a_place_that_slurm_cannot_name_is_refused(
    name: str, elsewhere: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert droq_exp("plan", "hardware=slurm_cpu", f"output_dir='{name}'") == 2
    assert "sbatch reads % and \\ in the names of a job's files" in error_line(capsys)
    assert droq_exp("plan", "hardware=cpu_parallel", f"output_dir='{name}'") == 0


def test_what_would_delete_results_is_refused(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that finished earlier and kept nothing to go on from."""
    before = {path: path.read_bytes() for path in _made(0, "finished", step=100_000).iterdir()}
    assert droq_exp("plan", *SWEEP, "seed=0") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in ("training.total_steps: ", "finished at step 100000", "keep_replay=true", "training.restart=true"):
        assert word in error
    assert {path: path.read_bytes() for path in before} == before


def test_a_directory_of_another_run_is_refused(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (write_run(RUNS / "seed_0", "failed") / "config.yaml").write_text("identity: {algo.gamma: 0.5}\n")
    assert droq_exp("plan", *SWEEP, "seed=0") == 2
    assert "holds another run: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["algo=drok"], "algo: 'drok' is not a choice"),
        (["algo.utd_ratio=1,0"], "sweep point: algo.utd_ratio=0"),
        (["hardware=slurm_cpu", "hydra/launcher=basic"], "hydra/launcher: the choice of hardware"),
        (["output_dir=/dev/null"], "/dev/null is not a directory"),
        (["--config-dir", "nowhere"], "--config-dir: nowhere is not a directory"),
        (["experiment=paper_redq", "-x"], "-x"),
    ],
)
def test_what_the_launch_refuses_is_refused(
    overrides: list[str], words: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert droq_exp("plan", *overrides) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert words in error
