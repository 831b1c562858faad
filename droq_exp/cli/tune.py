"""``droq-exp tune``: search good values of some keys by Optuna, whose trials are this project's own runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from droq_exp.cli.errors import RefusedError
from droq_exp.config.schema import ParallelHardwareConfig
from droq_exp.jobs.slurm import SubmissionError
from droq_exp.launch.checks import check_memory, check_output_dirs
from droq_exp.runs.lock import NO_SPACE, HeldError, RunLock
from droq_exp.tune.search import Options, Search, make_search

INSTALL = "pip install 'droq-exp[tune]' installs it"


def tune(lines: Sequence[str], options: Options, trials: int, parallel: int | None) -> None:
    """Make trials until there are ``trials`` of the search that ``lines`` and ``options`` say.

    Args:
        lines: overrides, and terms of the search.
        options: the rest of what it is.
        trials: in all, those of earlier commands among them.
        parallel: at a time; None: as many as the hardware has processes.

    Raises:
        RefusedError: Optuna is not installed, or so many trials at a time do not go with the hardware.
        ConfigError: what cannot be searched; nothing has been written then. Or a trial cannot be taken up.
        DamagedError, QueueUnreachableError: as ``droq_exp.jobs.launch``.
        SystemExit: 0 where all trials have ended; 1 where too many have failed, some are interrupted, nothing can be
            submitted, another process searches there, or the disk is full; 130 on Ctrl-C.
    """
    if find_spec("optuna") is None:
        raise RefusedError(f"tune needs Optuna, which is not installed; {INSTALL}")
    search = make_search(lines, options)
    at_a_time = _parallel(search, parallel)
    check_output_dirs({search.config.output_dir})
    check_memory([replace(search.config, seed=[*range(options.seeds)])] * at_a_time)
    from droq_exp.tune.head import Head  # imports Optuna

    try:
        search.files.mkdir(parents=True, exist_ok=True)
        with RunLock.acquire(search.files.absolute()):
            print(f"search: {search.directory}", flush=True)
            sys.exit(Head(search, _command(lines, options, trials, parallel), trials, at_a_time).run())
    except (HeldError, SubmissionError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        ways = "trials under way go on without this command, which continues when there is room"
        print(f"error: no space is left for {error.filename or search.files}; {ways}", file=sys.stderr, flush=True)
        sys.exit(1)
    except KeyboardInterrupt:
        ways = f"the same command continues, droq-exp cancel {search.directory} ends them"
        print(f"trials under way go on without this command; {ways}", file=sys.stderr, flush=True)
        sys.exit(130)


def _parallel(search: Search, asked: int | None) -> int:
    """How many trials there are at a time: no more processes run than the hardware is told to have."""
    hardware = search.config.hardware
    if hardware.launcher == "here" and (asked or 1) > 1:
        ways = "hardware=cpu_parallel, slurm_cpu or slurm_gpu have several"
        raise RefusedError(f"--parallel {asked}: this hardware trains one trial after the other; {ways}")
    if isinstance(hardware, ParallelHardwareConfig):
        if (asked or 1) > hardware.jobs:
            way = f"hardware.jobs={asked} goes with it"
            raise RefusedError(f"--parallel {asked}: more trials than processes, which are {hardware.jobs}; {way}")
        return asked or hardware.jobs
    return asked or 1


def _command(lines: Sequence[str], options: Options, trials: int, parallel: int | None) -> str:
    """The command as one would type it."""
    words = ["--trials", str(trials), "--seeds", str(options.seeds), "--score", options.score]
    words += ["--parallel", str(parallel)] if parallel is not None else []
    words += ["--prune"] if options.prune else []
    words += ["--seed", str(options.seed)] if options.seed else []
    return shlex.join(["droq-exp", "tune", *lines, *words])
