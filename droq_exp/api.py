"""What a script, a notebook or a thread calls: ``train``, and what comes of it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from droq_exp.import_path import looking_in
from droq_exp.launch.arguments import named_by_user, with_config_dir
from droq_exp.launch.checks import check_output_dirs

if TYPE_CHECKING:
    import pandas as pd

# The search path for modules, Hydra and torch's threads are the process's: a training in another thread waits.
_training = threading.RLock()


@dataclass(frozen=True)
class Run:
    """What came of one seed.

    Args:
        directory: the run's, absolute.
        seed: which.
        state: "finished", "stopped" or "pruned" (by a callback), "failed" or "interrupted", as in ``status.json``.
        last_return: mean return of the last evaluation; None before the first.
        error: one line that says why it did not finish, or None; ``train.log`` has the traceback.
    """

    directory: Path
    seed: int
    state: str
    last_return: float | None
    error: str | None

    @property
    def evaluations(self) -> pd.DataFrame:
        """``eval.csv`` as it is now, a row for each evaluation; empty before the first.

        Raises:
            DamagedError: the run was done, and the file has changed since.
        """
        return self._table("eval.csv")

    @property
    def training(self) -> pd.DataFrame:
        """``train.csv`` as it is now, a row for each interval between evaluations; raises as ``evaluations``."""
        return self._table("train.csv")

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd  # here, since it takes a second

        from droq_exp.runs.results import check_table

        path = self.directory / name
        check_table(path)
        return pd.read_csv(path) if path.exists() else pd.DataFrame()


def train(*overrides: str, trust: Iterable[str] = (), config_dir: str | os.PathLike[str] | None = None) -> list[Run]:
    """Train one run here and now, as ``python launch.py <overrides>`` does, and return what came of each seed.

    A seed that is done is returned as it is; one that was interrupted or failed continues from its checkpoint.
    What ends a seed is in its result. In the main thread a signal ends training as it ends the command, with a
    checkpoint, and is then raised again: Ctrl-C becomes a KeyboardInterrupt. In another thread signals are left alone.
    Signal handlers, torch's threads and the search path for modules are put back. Calls in several threads take turns.

    Args:
        overrides: the command's, such as ``"algo=droq"`` or ``"seed=[0,1]"``.
        trust: packages whose targets and tasks may be built, as by ``--trust``.
        config_dir: a directory with further choices, as by ``--config-dir``.

    Returns:
        A result for each seed, in the order of ``seed``.

    Raises:
        ConfigError: no run can be had of the overrides, they are a sweep or ask for jobs, or a directory has another
            run; nothing is written then.
        HeldError: another process trains in one of the directories.
    """
    with _training, looking_in([os.getcwd()]):
        from droq_exp.config import ConfigError
        from droq_exp.config.targets import trusting

        for item in overrides:
            if not isinstance(item, str):
                raise ConfigError(str(item), "overrides are strings, each an argument of its own: train(*overrides)")
        lines = with_config_dir(overrides, config_dir)
        with trusting(trust), trusting(named_by_user(lines, config_dir)):
            runs, received = _train(lines)
    if received is not None:
        signal.raise_signal(received)
    return runs


def _train(overrides: Sequence[str]) -> tuple[list[Run], signal.Signals | None]:
    """Train; also the signal that ended it."""
    from droq_exp.config import ConfigError, compose, plain
    from droq_exp.learner.native import early_build
    from droq_exp.runs.files import DamagedError
    from droq_exp.runs.identity import run_directory
    from droq_exp.runs.lock import HeldError

    config, recipe = compose(overrides)
    if config.hardware.launcher != "here":
        problem = "these runs are jobs, which python launch.py submits; here: hardware=auto, cpu or gpu"
        raise ConfigError("hardware", problem)
    check_output_dirs({config.output_dir})
    # Absolute: another thread may change the working directory meanwhile.
    config = replace(config, output_dir=os.path.abspath(config.output_dir))
    early_build.begin(config)
    from droq_exp.training import hardware, train

    directories = {seed: run_directory(config, recipe, seed) for seed in config.seeds}
    code = 0
    with hardware.settings_put_back():
        try:
            code = train.train(config, recipe, plain(overrides))
        except (ConfigError, DamagedError, HeldError):
            raise
        except Exception as error:
            if not _is_told(error, directories.values()):
                raise
    received = signal.Signals(code - 128) if code > 128 else None
    return [_run(directory, seed) for seed, directory in directories.items()], received


def _is_told(error: Exception, directories: Iterable[Path]) -> bool:
    """Whether ``error`` came once the runs had begun, so that it is the end of each that was not done."""
    from droq_exp.runs.status import DONE, read_status, summary_of

    told = [read_status(directory) or {} for directory in directories]
    summary = summary_of(error)
    return all(status.get("state") in DONE or (status.get("error") or {}).get("summary") == summary for status in told)


def _run(directory: Path, seed: int) -> Run:
    from droq_exp.runs.score import seed_score
    from droq_exp.runs.status import read_status

    status = read_status(directory)
    assert status is not None, f"{directory} was trained in and has no status"
    error = status.get("error") or {}
    return Run(directory, seed, status["state"], seed_score(directory, "last"), error.get("summary"))
