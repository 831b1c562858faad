"""From which checkpoints the runs of a group go on, and what is said where conditions have changed since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from droq_exp.config import Config
from droq_exp.config.errors import OtherRunError
from droq_exp.learner.transitions import TransitionLayout
from droq_exp.runs import provenance
from droq_exp.runs.checkpoint import CheckpointError, Checkpoints
from droq_exp.runs.checkpoint_files import FOLDER, WIDENED_FILE
from droq_exp.runs.directory import RunDirectory
from droq_exp.runs.replay_file import ReplayFile, ReplayFileError
from droq_exp.runs.takeover import RESTART
from droq_exp.training.hardware import Hardware
from droq_exp.training.phases import START, Position, position

State = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """The checkpoints of one run.

    Args:
        states: those from which it can go on, by step.
        problems: what is wrong with the others, a line each.
    """

    states: dict[int, State]
    problems: list[str]


def find_checkpoints(directory: Path, seed: int, total_steps: int) -> Found:
    """Load the checkpoints of the run in ``directory``, of ``seed``; whole ones up to ``total_steps`` are usable."""
    checkpoints = Checkpoints(directory / FOLDER)
    found = Found({}, [])
    for step in checkpoints.steps():
        try:
            state = checkpoints.load(step, seed)
            checkpoints.replay_file_of(state).verify(state["journal"])
        except (CheckpointError, ReplayFileError) as error:
            found.problems.append(f"passing over the checkpoint of step {step}: {error}")
            continue
        if step <= total_steps:
            found.states[step] = state
    return found


def check_states(directory: Path, states: Iterable[State], config: Config) -> None:
    """Refuse, before anything of a run changes, to go on from checkpoints of before they held all that is needed.

    Raises:
        OtherRunError: what is not in one of them.

    """
    needed = {"tensors", "critic_updates", "policy_updates", "draws", "exploration"}
    if config.training.offline_every or config.algo.features._target_ is not None:
        needed.add("phase_draws")
    for state in states:
        learners = state["agent"].get("learners", [state["agent"]])  # several, with rates that are chosen
        missing = sorted(needed - set.intersection(*(set(each) for each in learners)))
        if missing:
            problem = f"{directory} has a checkpoint of an earlier version, which did not save {', '.join(missing)} yet"
            raise OtherRunError("output_dir", f"{problem}: only that version continues it; {RESTART}")


def start_points(runs: Sequence[RunDirectory], found: Sequence[Found]) -> list[tuple[list[RunDirectory], list[State]]]:
    """Divide ``runs`` into groups that can go on side by side, each with the states that it goes on from.

    All go on from the newest step that each of them has a whole checkpoint of, within a phase of the same update. Where
    there is no such step, those that share their newest make a group; without states a group starts from step 0.
    ``found`` is in the order of ``runs``, and what is wrong with their checkpoints is told.
    """
    for run, each in zip(runs, found, strict=True):
        for problem in each.problems:
            run.log.warning(problem)
    by_position = [{position(state): state for state in each.states.values()} for each in found]
    common = set.intersection(*map(set, by_position))
    if common:
        newest = max(common)
        return [(list(runs), [states[newest] for states in by_position])]
    groups: dict[Position, tuple[list[RunDirectory], list[State]]] = {}
    for run, states in zip(runs, by_position, strict=True):
        newest = max(states, default=START)
        seed_runs, chosen = groups.setdefault(newest, ([], []))
        seed_runs.append(run)
        if states:
            chosen.append(states[newest])
    return [groups[place] for place in sorted(groups)]


def conditions(seeds: Sequence[int], machine: Hardware) -> dict[str, Any]:
    """What the numbers of a run depend on beside its identity: with all of it equal, resuming changes no digit."""
    return {
        "seeds": ", ".join(map(str, seeds)),
        "threads": torch.get_num_threads(),
        "cpu": _cpu(),
        "device": machine.device,
        "updates": machine.backend.name,
        "compiled": machine.backend.compiled,
        "library": machine.backend.library,
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(provenance.versions().items())),
    }


def report_changes(run: RunDirectory, state: State, now: dict[str, Any]) -> None:
    """Warn of conditions that differ from those of the checkpoint."""
    stored = _as_now(state["conditions"])
    told = [key for key in now if stored.get(key) != now[key]]
    if "updates" in told:  # which says it all
        told = [key for key in told if key not in ("compiled", "library")]
    changed = [f"{key}: {stored.get(key)} before, {now[key]} now" for key in told]
    if changed:
        run.log.warning(
            "resumed under other conditions, so digits may differ from an uninterrupted run (%s)", "; ".join(changed)
        )


def _as_now(stored: dict[str, Any]) -> dict[str, Any]:
    """Conditions in today's names: "seeds" were a "pack", and two of them said who made the updates."""
    now = {"seeds": stored["pack"]} if "pack" in stored else {}
    if "updates" not in stored:
        faster = "native" if stored.get("library") else "compile" if stored.get("compiled") else "eager"
        now["updates"] = "graphs" if stored["device"].startswith("cuda") else faster
    return stored | now


def restored_replay_file(run: RunDirectory, state: State, layout: TransitionLayout) -> ReplayFile:
    """Return the replay file of ``state``, verified before, at the state's end and with rows of ``layout``.

    A run that was begun before rows had ``truncated`` gets a second file, with the old rows widened by a 0 there: the
    time limits among them are forgotten. The episode under way has not ended, so of its rows 0 is right, and they are
    what stepping it again gives.

    The first file stays as it is, and so does every state that refers to it: a process that is killed from here to the
    next checkpoint leaves what it found, and the second file is written anew. Later checkpoints refer to the second;
    the first goes with the last state that needs it.

    Raises:
        ValueError: the rows are neither of ``layout`` nor of the one before.

    """
    stored = run.checkpoints.replay_file_of(state)
    stored.restore(state["journal"])
    if state["row_size"] == layout.size:
        return stored
    widened = run.checkpoints.replay_file(layout.size, WIDENED_FILE)
    stored.copy_to(widened, layout.widened)
    run.log.info("transitions up to step %s do not say whether they were truncated: taken as 0", state["step"])
    return widened


def _cpu() -> str:
    """Model of the processor, whose vector instructions decide how sums are rounded."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "CPU implementer"))]
    return names[0] if names else "unknown"
