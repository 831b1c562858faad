"""Which of several learners acts, and which of them is what a run has learned: by their errors on held-out episodes.

After AVTD (Li et al., ICLR 2023, arXiv:2304.10466), which chooses among regularisers by the temporal-difference error
of transitions that nothing learns from. The numbers are this project's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from droq_exp.random_streams import Stream, generator, generator_state, set_generator_state

KEPT = 0.9  # of the smoothed error, at each new one
BETTER = 0.95  # times the chosen learner's error is what another one must be below
SETTLING = 5_000  # environment steps after updates began in which the first choice stands


class Selection:
    """The choice of one seed; all that is random in it comes from one stream of its own."""

    def __init__(self, seed: int, learners: int, first: int, explore: float) -> None:
        """Begin with learner number ``first`` of ``learners``; another acts with probability ``explore``."""
        self._rng = generator(seed, Stream.SELECTION)
        self._explore = explore
        self.errors = np.full(learners, np.nan)  # the last ones; NaN: none yet
        self.smoothed = np.full(learners, np.nan)
        self.variances = np.full(learners, np.nan)  # of the last targets
        self.chosen = first  # what is evaluated, kept and reported
        self.acting = first
        self._episode = -1

    def begin(self, episode: int, *, settled: bool) -> None:
        """Decide, where training episode number ``episode`` has just begun, who acts in it.

        ``settled`` is whether the errors count already; until they do, nobody explores.
        """
        if episode == self._episode:
            return
        self._episode = episode
        if settled and not np.isnan(self.smoothed).any():
            best = int(self.smoothed.argmin())
            if self.smoothed[best] < BETTER * self.smoothed[self.chosen]:
                self.chosen = best
        explores, another = self._rng.random() < self._explore, int(self._rng.integers(len(self.errors)))
        self.acting = another if explores and settled else self.chosen

    def validated(self, errors: np.ndarray, variances: np.ndarray) -> None:
        """Take in each learner's mean squared error and the variance of its targets, ``[K]`` each.

        Divided by it, so that a critic whose values have collapsed does not win.
        """
        self.errors, self.variances = errors / (variances + 1e-8), variances
        began = ~np.isnan(self.smoothed)
        self.smoothed = np.where(began, KEPT * self.smoothed + (1 - KEPT) * self.errors, self.errors)

    def state(self) -> dict[str, Any]:
        """All that changes, as plain numbers and lists."""
        return {
            "errors": self.errors.tolist(),
            "smoothed": self.smoothed.tolist(),
            "variances": self.variances.tolist(),
            "chosen": self.chosen,
            "acting": self.acting,
            "episode": self._episode,
            "rng": generator_state(self._rng),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Be where :meth:`state` was taken."""
        for name in ("errors", "smoothed", "variances"):
            setattr(self, name, np.array(state[name]))
        self.chosen, self.acting, self._episode = state["chosen"], state["acting"], state["episode"]
        set_generator_state(self._rng, state["rng"])
