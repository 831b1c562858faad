"""Actions as they leave for a task: within its box, wherever the code base means them to be."""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-3  # of the box's width: by less than that a code base means the box itself


class ActionBox:
    """Puts back what rounding has carried over an edge: tanh reaches 1, and scale and offset are rounded."""

    def __init__(self, low: np.ndarray, high: np.ndarray, action_map: np.ndarray) -> None:
        """Take the box, float32 ``[act]`` each, and the code base's map from [-1, 1], ``[2, act]``.

        A code base that means to leave the box on some side, as ``ku`` does, is left to do so.
        """
        scale, offset = action_map.astype(np.float64)
        slack = ROUNDING * (high.astype(np.float64) - low) + 4 * np.spacing(np.maximum(np.abs(low), np.abs(high)))
        below, above = low - (offset - np.abs(scale)), offset + np.abs(scale) - high  # how far the map leaves the box
        self.is_filled = bool((np.maximum(np.abs(below), np.abs(above)) <= slack).all())
        # What leaves for the task at least and at most; infinite on a side on which the box may be left.
        self.least = np.where(below > slack, -np.inf, low).astype(np.float32)
        self.most = np.where(above > slack, np.inf, high).astype(np.float32)

    def fit(self, actions: np.ndarray) -> np.ndarray:
        """Give ``actions`` ``[..., act]`` as the task may have them; what lies in the box keeps its bits."""
        return np.minimum(np.maximum(actions, self.least), self.most)
