"""What a person at the terminal is told when training begins and when it ends: a line each, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from statistics import fmean

from droq_exp.config.schema import Config
from droq_exp.config.task import dimensions
from droq_exp.runs.directory import RunDirectory
from droq_exp.runs.files import DamagedError
from droq_exp.runs.score import seed_score
from droq_exp.runs.status import DONE
from droq_exp.training.progress import duration, seed_text


def tell_beginning(config: Config, seeds: Sequence[int], step: int, machine: str) -> None:
    """Say what trains on what.

    Args:
        config: what trains.
        seeds: of it, those that train now.
        step: the environment step after which they begin: 0, or that of a checkpoint.
        machine: device, threads and who makes the updates, in words.
    """
    obs, act = dimensions(config.env)
    task = f"{config.env.id} (obs {obs}, act {act})"
    steps = f"{config.training.total_steps:,} steps" + (f", from step {step:,}" if step else "")
    _say(f"{config.algo.name} ({config.codebase.name}) on {task}: {steps}, {seed_text(seeds)}, {machine}")


def tell_end(runs: Sequence[RunDirectory], seconds: float) -> None:
    """Say what came of the seeds that are done, if there are any: their mean return, and the time it took in all."""
    done = [run for run in runs if run.state in DONE]
    try:
        last, best = ([seed_score(run.directory, objective) for run in done] for objective in ("last", "best"))
    except DamagedError as error:
        _say(str(error))
        return
    returns = [(a, b) for a, b in zip(last, best, strict=True) if a is not None and b is not None]
    if returns:
        last_mean, best_mean = map(fmean, zip(*returns, strict=True))
        of = "" if len(returns) == 1 else f" (means of {len(returns)} seeds)"
        _say(f"{done[0].state}: return {last_mean:,.1f}, best {best_mean:,.1f}{of}, in {duration(seconds)}")


def tell_interruption(runs: Sequence[RunDirectory], signal_name: str) -> None:
    """Say of what a signal has ended where it goes on; what all seeds have in common is said once."""
    told = [_interruption(run, signal_name) for run in runs if run.state == "interrupted"]
    for line in dict.fromkeys(told):
        _say(line)


def _interruption(run: RunDirectory, signal_name: str) -> str:
    by = "" if signal_name == "SIGINT" else f" by {signal_name}"
    at = f"interrupted{by} at step {run.step:,}"
    saved = next(iter(run.checkpoints.steps()), None)
    if saved is None:
        return f"{at}, nothing is saved yet; the same command starts over"
    if saved == run.step:
        return f"{at}, saved; the same command continues"
    return f"{at}; the same command continues from step {saved:,}, the last that is saved"


def _say(line: str) -> None:
    with suppress(OSError):  # the terminal has gone away
        print(line, file=sys.stderr, flush=True)
