"""``callbacks=early_stop``: end a seed that is good enough, or that gets no better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from droq_exp.callbacks.base import Callback, Stop


class EarlyStop(Callback):
    """Stops at the first evaluation whose mean return is above a mark, or after some that brought no better one."""

    def __init__(self, return_above: float | None, patience: int | None) -> None:
        """Take the mark, an undiscounted return, and how many evaluations may pass without a better return.

        Either may be None: it stops nothing then. ValueError where both are.
        """
        if return_above is None and patience is None:
            raise ValueError("stops nothing; give return_above, patience or both")
        self._return_above = return_above
        self._patience = patience
        self._best: float | None = None
        self._without = 0  # evaluations since the best

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> Stop | None:
        """Compare the mean return; one that is no number is no better."""
        value = metrics["eval/return_mean"]
        if self._best is None or value > self._best:
            self._best, self._without = value, 0
        else:
            self._without += 1
        if self._return_above is not None and value > self._return_above:
            return Stop(f"return {value:,.1f} above {self._return_above:,g}")
        if self._patience is not None and self._without >= self._patience:
            return Stop(f"no return above {self._best:,.1f} in {self._patience} evaluations")
        return None

    def state(self) -> dict[str, Any]:
        """The best return, and how many evaluations ago it was."""
        return {"best": self._best, "without": self._without}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self._best, self._without = state["best"], state["without"]
