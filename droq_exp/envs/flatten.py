"""Tasks whose observations have parts (dictionaries, tuples, arrays), as tasks whose observations are a vector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim
from gymnasium.wrappers import FlattenObservation


class FlatObservation(FlattenObservation):
    """Gymnasium's FlattenObservation for numbers: a Discrete or MultiDiscrete part becomes 0s and 1s, one per value.

    ``observation_order`` has the (path, length) of each part, such as ("desired_goal", 3) and ("a/0", 2); a space that
    has no parts is "observation". The order is the space's own: a Dict that was made of a plain dictionary has sorted
    keys, whatever the order in the task's observations.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        """Wrap ``env``.

        Raises:
            ValueError: a part is an image (uint8, three dimensions or more) or no number; one line that names it.
        """
        self.observation_order = [*_parts(env.observation_space, ())]
        super().__init__(env)


def _parts(space: spaces.Space[Any], path: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        named = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
        for name, part in named:
            yield from _parts(part, (*path, str(name)))
        return
    where = "/".join(path) or "observation"
    if not isinstance(space, spaces.Box | spaces.MultiBinary | spaces.Discrete | spaces.MultiDiscrete):
        raise ValueError(f"{where} is a {type(space).__name__}; allowed: numbers")
    if space.dtype == np.uint8 and isinstance(space, spaces.Box) and len(space.shape) >= 3:
        raise ValueError(f"{where} is an image, uint8 of shape {space.shape}; allowed: numbers of a state")
    yield where, flatdim(space)
