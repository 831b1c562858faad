"""``droq-exp doctor``: what this machine has of what runs use, and what to do about the rest.

Each fact is asked where the program itself asks it. What may hang or end its process is asked in another process.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from droq_exp import cpu
from droq_exp.cli.errors import RefusedError
from droq_exp.config import ConfigError
from droq_exp.evaluation.rendering import RenderingError, use_offscreen
from droq_exp.import_path import child_environment
from droq_exp.jobs.queue import partitions
from droq_exp.launch.checks import check_output_dirs
from droq_exp.learner.native import build
from droq_exp.runs.provenance import OTHER_CONTACTS, other_contacts, versions

OK, ABSENT, BROKEN = "ok", "absent", "broken"  # absent: training works without it
UNKNOWN = "unknown"  # no answer in time: the machine may be busy
PATIENCE = 90.0  # seconds for what another process is asked
LITTLE_ROOM = 5 * 2**30  # bytes; a long run's replay file and checkpoints take some tenths of it
GPU = (
    "import torch; n = torch.cuda.device_count() if torch.cuda.is_available() else 0; "
    "print(', '.join(torch.cuda.get_device_name(i) for i in range(n)))"
)
WANDB = "from droq_exp.cli.wandb_server import check_server; check_server()"
TRAINING = (
    *("debug=default", "env=inverted_pendulum", "hardware=cpu", "bias.enabled=false", "eval.episodes=1"),
    *("algo.utd_ratio=1", "training.total_steps=55"),
)
LONGEST_NAME = len("processor")
NAME = re.compile(r"[\w.-]+")  # that a requirement begins with
SMALLEST_RUN = "python launch.py experiment=smoke_run"


class Finding(NamedTuple):
    """What was found of one thing: ``state`` is one of the four above; ``todo`` what helps, or nothing."""

    name: str
    state: str
    found: str
    todo: str = ""


class _Silence(str):
    """In a line, that another process does not answer."""


def doctor(directory: Path, as_json: bool) -> int:
    """Print a line for each thing; return 0 where training works, else 1; in JSON, null where that is not known.

    Args:
        directory: where runs are to be written.
        as_json: print JSON instead.
    """
    checks: Sequence[Callable[[], Finding]] = (
        lambda: _disk(directory),
        _versions,
        _mujoco,
        _processor,
        _compiler,
        _gpu,
        _opengl,
        _slurm,
        _wandb,
        _extras,
        _training,  # the slowest
    )
    findings = []
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        for finding in pool.map(lambda check: check(), checks):
            findings.append(finding)
            if not as_json:
                todo = f"; {finding.todo}" if finding.todo else ""
                print(f"{finding.state:<7}  {finding.name:<{LONGEST_NAME}}  {finding.found}{todo}", flush=True)
    broken = any(finding.state == BROKEN for finding in findings)
    works = None if findings[-1].state == UNKNOWN and not broken else not broken
    if as_json:
        print(json.dumps({"works": works, "findings": [finding._asdict() for finding in findings]}, indent=2))
        return int(works is not True)
    told = {True: "training works here", False: "training does not work here", None: "training could not be checked"}
    print(told[works])
    return int(works is not True)


def _training() -> Finding:
    """A run of seconds, as a user would start it."""
    with tempfile.TemporaryDirectory() as place:
        problem = _problem("-m", "droq_exp", *TRAINING, f"output_dir={place}/outputs", directory=place)
    if isinstance(problem, _Silence):
        return Finding("training", UNKNOWN, problem, f"again when less runs here, or {SMALLEST_RUN}")
    if problem is None:
        return Finding("training", OK, f"{' '.join(TRAINING[:2])} has trained and finished")
    return Finding("training", BROKEN, problem, "pip install -e . installs what it needs")


def _disk(directory: Path) -> Finding:
    try:
        check_output_dirs({str(directory)})
    except ConfigError as error:
        return Finding("disk", BROKEN, str(error), "output_dir=<folder> writes elsewhere")
    place = next(each for each in (directory.absolute(), *directory.absolute().parents) if each.is_dir())
    free = shutil.disk_usage(place).free
    todo = "" if free >= LITTLE_ROOM else "make room, or output_dir=<folder> writes elsewhere"
    state = OK if free >= LITTLE_ROOM else ABSENT
    return Finding("disk", state, f"{free / 2**30:,.1f} GB free in {place}, which can be written", todo)


def _versions() -> Finding:
    found = {name: version for name, version in versions().items() if name != "mujoco"}
    missing = [name for name, version in found.items() if version is None]
    told = ", ".join(f"{name} {version}" for name, version in found.items() if version is not None)
    if missing:
        return Finding("packages", BROKEN, f"{told}; not installed: {', '.join(missing)}", "pip install -e .")
    return Finding("packages", OK, told)


def _mujoco() -> Finding:
    version = versions()["mujoco"]
    if version is None:
        return Finding("MuJoCo", BROKEN, "not installed", "pip install -e .")
    if other_contacts(versions()) is None:
        return Finding("MuJoCo", OK, f"{version}, with the contacts that the papers' had")
    older = ".".join(map(str, OTHER_CONTACTS))
    todo = f"pip install 'mujoco<{older}' has the papers' contacts (docs/fidelity.md)"
    return Finding("MuJoCo", ABSENT, f"{version} has other contacts than the papers'", todo)


def _processor() -> Finding:
    cores, cpus, threads = cpu.usable_cores(), cpu.usable_cpus(), cpu.threads_of_user()
    bf16 = ", bf16" if cpu.has_bf16() else ""
    found = f"{cores} of {os.cpu_count()} CPUs usable as cores, {cpu.machine_memory() / 2**30:,.1f} GB memory{bf16}"
    if threads is not None and threads > cpus:
        todo = f"unset OMP_NUM_THREADS: it asks for {threads} threads, and this process may use {cpus} CPUs"
        return Finding("processor", ABSENT, found, todo)
    return Finding("processor", OK, f"{found}; {threads or cores} threads for a run")


def _compiler() -> Finding:
    built = sum(build.built_beforehand(variant) is not None for variant in build.variants())
    library = f"{built} of {len(build.variants())} libraries built in {build.cache_directory()}"
    compiler = build.compiler()
    if compiler is None:
        todo = "install g++, or run droq-exp build on a machine that has it; until then PyTorch trains, more slowly"
        return Finding("C++", OK if built else ABSENT, f"no compiler; {library}", "" if built else todo)
    first = build.version_of(compiler).decode(errors="replace").partition("\n")[0]
    return Finding("C++", OK, f"{first or compiler}; {library}", "" if built else "the first run builds what it needs")


def _gpu() -> Finding:
    done = _python("-c", GPU)
    if isinstance(done, _Silence):
        return Finding("GPU", UNKNOWN, done, "again when less runs here; hardware=cpu trains without one")
    if names := done.stdout.strip():
        return Finding("GPU", OK, names)
    if shutil.which("nvidia-smi") is None:
        return Finding("GPU", ABSENT, "none; runs use the CPU")
    return Finding("GPU", ABSENT, "there is a driver, and torch cannot use it", "pip install the torch of its CUDA")


def _opengl() -> Finding:
    try:
        return Finding("OpenGL", OK, f"{use_offscreen()} draws pictures and videos")
    except RenderingError as error:
        return Finding("OpenGL", ABSENT, str(error))


def _slurm() -> Finding:
    try:
        names = partitions()
    except Exception as error:  # whatever a cluster's program does
        first = str(error).partition(" sinfo: ")[0]  # of what it complains of
        return Finding("SLURM", ABSENT, first, "hardware=cpu_parallel runs jobs here")
    return Finding("SLURM", OK, f"partitions {', '.join(names)}")


def _wandb() -> Finding:
    problem = _problem("-c", WANDB)
    if problem is None:
        return Finding("wandb", OK, "logged in, and its server answers")
    if isinstance(problem, _Silence):
        return Finding("wandb", UNKNOWN, problem, "logger=wandb keeps runs offline")
    return Finding("wandb", ABSENT, problem.removeprefix("RefusedError: "), "logger=wandb keeps runs offline")


def _extras() -> Finding:
    """The extras of this package, and what installs those that are not there."""
    wanted: dict[str, list[str]] = {}
    for line in metadata.requires("droq-exp") or ():
        requirement, _, marker = line.partition(";")
        if "extra ==" in marker:
            extra = marker.rpartition("==")[2].strip().strip("'\"")
            wanted.setdefault(extra, []).append(NAME.match(requirement)[0])  # type: ignore[index]  # a requirement has one
    missing = {extra for extra, names in wanted.items() if not all(map(_is_installed, names))}
    there = ", ".join(extra for extra in wanted if extra not in missing) or "none"
    todo = f"pip install 'droq-exp[{','.join(sorted(missing))}]' installs the others" if missing else ""
    return Finding("extras", ABSENT if missing else OK, f"installed: {there}", todo)


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _problem(*arguments: str, directory: str | None = None) -> str | None:
    """Why Python with ``arguments`` does not end in order, in a line; None where it does."""
    done = _python(*arguments, directory=directory)
    if isinstance(done, _Silence):
        return done
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
    return lines[-1].rpartition(".RefusedError: ")[2].removeprefix("error: ")


def _python(*arguments: str, directory: str | None = None) -> subprocess.CompletedProcess[str] | _Silence:
    """What Python with ``arguments`` has done, or in a line that it does not answer."""
    try:
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            env=child_environment(),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return _Silence(f"no answer within {PATIENCE:.0f} s")
    except OSError as error:
        raise RefusedError(f"{sys.executable} cannot be started: {error.strerror}") from error
