"""Ends a trial of ``droq-exp tune`` that is not worth its time, once the search has said so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from droq_exp.callbacks.base import Callback, Stop
from droq_exp.runs.files import read_json, write_atomically

FILE = "prune.json"  # in the run's directory: the search's verdict
REMEDY = "removing it lets the run go on"


class Prune(Callback):
    """Looks for the search's verdict at each evaluation.

    The search decides, for it alone knows the other trials. So a run needs neither Optuna nor the journal, and on a
    node of a cluster nothing but the file system on which its directory is. When a run ends depends therefore on how
    far the others were, and not on its own state.
    """

    def __init__(self) -> None:
        """Know of no directory yet."""
        self._directory: Path | None = None

    def placed(self, directory: Path) -> None:
        """Look there."""
        self._directory = directory

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> Stop | None:
        """Ask for the end where the search does, unless this evaluation, which it does not know yet, is good enough.

        Raises:
            DamagedError: the verdict cannot be read.
        """
        if self._directory is None:
            return None
        try:
            verdict = read_json(self._directory / FILE, REMEDY)
        except FileNotFoundError:
            return None
        if verdict["unless"] is not None and metrics["eval/return_mean"] >= verdict["unless"]:
            return None
        return Stop(str(verdict["reason"]), "pruned")


def pass_verdict(directory: Path, reason: str, unless: float | None) -> None:
    """Let the run in ``directory`` end as pruned at its next evaluation, unless its mean return is so high there."""
    write_atomically(directory / FILE, json.dumps({"reason": reason, "unless": unless}) + "\n")


def withdraw_verdict(directory: Path) -> None:
    """Let the run in ``directory`` go on."""
    (directory / FILE).unlink(missing_ok=True)
