"""Other libraries and this project in turn on the same machine: the whole training, as each has it.

Each library is installed into an environment of its own and trains in a process of its own. Blocks of a few environment
steps alternate, ours, theirs, ours, ..., so that all see the same machine; the others wait meanwhile. Hyperparameters
are ours wherever a library has them; what it has no key for stays as its users have it. Nobody is evaluated. As SBX
does, our REDQ takes the minimum over all critics in the target (``algo.num_min``).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from benchmarks import peer_driver
from benchmarks.against_sbx import LOOP_BLOCKS, equal_work, train_in_turn
from benchmarks.against_sbx import settings as sbx_settings
from benchmarks.peer_process import NotInstalledError, NotRunnableError, start_peer
from droq_exp.config import Config, compose
from droq_exp.profiling.timing import WARM_UP_STEPS
from droq_exp.training import hardware

# What SBX's agents, Stable-Baselines3's and SBX's CrossQ call alike.
COMMON = ("learning_starts", "buffer_size", "batch_size", "gradient_steps", "train_freq", "learning_rate", "gamma")
PATIENCE = 900  # seconds for an installation
ROWS = (
    ["algo=sac", "algo.utd_ratio=1"],
    ["algo=droq", "algo.dropout_rate=0.01"],
    ["algo=redq"],
    ["algo=crossq"],
)
CLEANRL = "https://github.com/vwxyzjn/cleanrl"
CLEANRL_COMMIT = "004f8a086a892a2a180f4dd332b90d83a968aa7a"
CLEANRL_SCRIPT = "cleanrl/sac_continuous_action.py"
TASKS = (f"torch=={torch.__version__.partition('+')[0]}", f"mujoco=={mujoco.__version__}", "gymnasium[mujoco]")


@dataclass(frozen=True)
class Peer:
    """A library to compare with.

    Args:
        title: as people call it.
        packages: what pip installs.
        told: the packages whose versions are told.
        settings: what :mod:`benchmarks.peer_driver` is told for the work of a configuration; None: it has none such.
        source: a repository and its commit, which is checked out, for what pip cannot install.
    """

    title: str
    packages: tuple[str, ...]
    told: tuple[str, ...]
    settings: Callable[[Config, Path], Mapping[str, Any] | None]
    source: tuple[str, str] | None = None


def _sbx(config: Config, _: Path) -> Mapping[str, Any] | None:
    algo, agent = config.algo, sbx_settings(config)["agent"]
    if algo.name != "crossq":
        return {"module": "sbx", "class": "SAC", "agent": agent}
    layers = {"pi": algo.actor_hidden_sizes, "qf": algo.hidden_sizes}
    more = {"policy_delay": 3, "policy_kwargs": {"net_arch": layers}}
    return {"module": "sbx", "class": "CrossQ", "agent": {key: agent[key] for key in COMMON} | more}


def _sb3(config: Config, _: Path) -> Mapping[str, Any] | None:
    if config.algo.name != "sac":
        return None
    agent = sbx_settings(config)["agent"]
    more = {"tau": agent["tau"], "policy_kwargs": {"net_arch": config.algo.hidden_sizes}}
    return {"module": "stable_baselines3", "class": "SAC", "agent": {key: agent[key] for key in COMMON} | more}


def _cleanrl(config: Config, source: Path) -> Mapping[str, Any] | None:
    if config.algo.name != "sac":
        return None
    agent = sbx_settings(config)["agent"]
    arguments = {
        "env-id": config.env.id,
        "total-timesteps": peer_driver.ENDLESS,
        "learning-starts": agent["learning_starts"],
        **{key.replace("_", "-"): agent[key] for key in ("buffer_size", "batch_size", "gamma", "tau")},
    }
    words = [word for key, value in arguments.items() for word in (f"--{key}", str(value))]
    return {"script": str((source / CLEANRL_SCRIPT).absolute()), "arguments": words}


PEERS = {
    "sbx": Peer("SBX", ("sbx-rl==0.28.0", *TASKS), ("sbx-rl", "jax"), _sbx),
    "sb3": Peer("Stable-Baselines3", ("stable-baselines3==2.9.2", *TASKS), ("stable-baselines3",), _sb3),
    "cleanrl": Peer("CleanRL", ("tyro", "tensorboard", *TASKS), ("torch",), _cleanrl, source=(CLEANRL, CLEANRL_COMMIT)),
}


@dataclass(frozen=True)
class Installed:
    """Where a peer is."""

    python: Path
    source: Path


def compare_peers(
    overrides: Sequence[str], steps: int, environments: Path | None, tell: Callable[[str], object]
) -> Any:
    """Install what can be, then compare each of ``ROWS`` with all that have it.

    Args:
        overrides: as for ``launch.py``, without ``algo``.
        steps: timed environment steps at one update each; of more updates fewer.
        environments: where the peers' environments are kept and found again; None: nowhere.
        tell: of what is being installed and measured.

    Raises:
        ConfigError: what no run can have, or SBX cannot do.
    """
    rows = [compose([*row, *overrides]) for row in ROWS]
    works = [(equal_work(config), recipe) for config, recipe in rows]
    with _directory(environments) as directory:
        found = {name: _installed(name, peer, directory, tell) for name, peer in PEERS.items()}
        there = {name: place for name, place in found.items() if isinstance(place, Installed)}
        missing = {PEERS[name].title: why for name, why in found.items() if isinstance(why, str)}
        machine = hardware.set_up(works[0][0])
        versions: dict[str, str] = {}
        results = []
        for config, recipe in works:
            tell(f"{config.algo.name}, {config.algo.utd_ratio} updates an environment step")
            results.append(_row(config, recipe, steps, there, versions, missing))
    return {
        "benchmark": "peers",
        "device": machine.description,
        "torch": torch.__version__,
        "rows": results,
        "versions": versions,
        "missing": missing,
    }


def _row(
    config: Config,
    recipe: Config,
    steps: int,
    there: Mapping[str, Installed],
    versions: dict[str, str],
    missing: dict[str, str],
) -> dict[str, Any]:
    """Milliseconds per environment step of ours and of each peer: medians over ten blocks."""
    machine = hardware.set_up(config)
    block = max(2, steps // (LOOP_BLOCKS * config.algo.utd_ratio))
    theirs: dict[str, list[float]] = {}
    with ExitStack() as running:
        processes = {}
        for name, place in there.items():
            settings = PEERS[name].settings(config, place.source)
            if settings is None:
                continue
            told: dict[str, Any] = {
                "threads": config.hardware.threads,
                "env_id": config.env.id,
                "env_kwargs": config.env.kwargs,
                "untimed_steps": config.training.start_steps + WARM_UP_STEPS,
                "packages": PEERS[name].told,
            }
            try:
                process = start_peer(
                    str(place.python), Path(peer_driver.__file__), {**told, **settings}, machine.device
                )
                processes[name] = running.enter_context(process)
            except (NotInstalledError, NotRunnableError, ChildProcessError) as error:
                missing[PEERS[name].title] = str(error)
                continue
            versions |= processes[name].versions
            theirs[name] = []

        def others() -> None:
            for name, process in [*processes.items()]:
                try:
                    theirs[name].append(process.ask(str(block)))
                except ChildProcessError as error:
                    missing[PEERS[name].title] = str(error)
                    del processes[name]

        ours = train_in_turn(config, recipe, machine, block, others)
    taken = {"ms_per_env_step": ours} | {f"{name}_ms": np.array(theirs.get(name, [])) for name in PEERS}
    return {
        "algo": config.algo.name,
        "env": config.env.id,
        "utd_ratio": config.algo.utd_ratio,
        "steps": block * LOOP_BLOCKS,
        **{key: round(1e3 * float(np.median(each)) / block, 3) if len(each) else None for key, each in taken.items()},
    }


@contextmanager
def _directory(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def _installed(name: str, peer: Peer, directory: Path, tell: Callable[[str], object]) -> Installed | str:
    """The environment of a peer, made where it is not there yet; or why there is none, in a line."""
    place = Installed(directory / name / "bin" / "python", directory / name / "source")
    done = directory / name / "installed"
    if done.exists():
        return place
    shutil.rmtree(directory / name, ignore_errors=True)
    tell(f"{peer.title}: installing")
    commands = [
        [sys.executable, "-m", "venv", str(directory / name)],
        [str(place.python), "-m", "pip", "install", "--quiet", *peer.packages],
    ]
    if peer.source is not None:
        git = ["git", "-C", str(place.source)]
        url, commit = peer.source
        commands += [["git", "init", "--quiet", str(place.source)]]
        commands += [[*git, "fetch", "--quiet", "--depth", "1", url, commit]]
        commands += [[*git, "checkout", "--quiet", "FETCH_HEAD"]]
    for command in commands:
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return f"{' '.join(command[:4])} ... took more than {PATIENCE // 60} minutes"
        except OSError as error:
            return f"{command[0]} cannot be run: {error.strerror}"
        if result.returncode:
            said = result.stderr.strip().splitlines()
            return said[-1] if said else f"{command[0]} ended with code {result.returncode}"
    done.touch()
    return place
