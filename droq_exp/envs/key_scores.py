"""How well a step of a piano piece is played: what RoboPianist's own evaluation takes scikit-learn for."""

from __future__ import annotations

import numpy as np


def key_scores(goal: np.ndarray, pressed: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F1 of the keys of one step; each is 1 where it would be 0 / 0.

    Args:
        goal: bool ``[88]``, the keys to be down.
        pressed: bool ``[88]``, those that are.
    """
    right, wanted, played = int((goal & pressed).sum()), int(goal.sum()), int(pressed.sum())
    return (
        right / played if played else 1.0,
        right / wanted if wanted else 1.0,
        2 * right / (wanted + played) if wanted + played else 1.0,
    )
