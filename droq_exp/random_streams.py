"""Independent random streams: one generator for each (seed, purpose), so that no purpose disturbs another.

Switching the bias estimate on, or training a seed beside others, leaves every other stream as it was.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np


class Stream(IntEnum):
    """What randomness is used for. The values are part of what a seed means: append, never renumber."""

    PARAMETERS = 0
    TRAINING_ENV = 1
    EXPLORATION = 2
    MINIBATCH = 3
    NEXT_ACTION = 4
    POLICY_ACTION = 5
    DROPOUT = 6
    TARGET_SUBSET = 7
    EVALUATION_ENV = 8
    BIAS_ENV = 9
    BIAS_ACTION = 10
    PLAY_ENV = 11
    PLAY_ACTION = 12
    NEW_ROW_ACTION = 13
    NEW_ROW_DROPOUT = 14
    NEW_ROW_CRITICS = 15
    FEATURE_PARAMETERS = 16
    FEATURE_MINIBATCH = 17
    SELECTION = 18
    VALIDATION = 19
    OWN = 20  # of a part: split further by the names that it declares


def generator(seed: int, stream: Stream, *path: int) -> np.random.Generator:
    """Return the generator of one stream; ``path`` splits it further (by environment step, say)."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(int(stream), *path))))


def derived_seed(seed: int, stream: Stream, *path: int) -> int:
    """Return a 31-bit seed for what wants a number instead of a generator, such as ``env.reset``."""
    return int(np.random.SeedSequence(seed, spawn_key=(int(stream), *path)).generate_state(1)[0] >> 1)


def derived_key(seed: int, stream: Stream, *path: int) -> np.uint64:
    """Return the 64-bit key of one stream for a generator that counts, as the one on the device does."""
    return np.random.SeedSequence(seed, spawn_key=(int(stream), *path)).generate_state(1, np.uint64)[0]


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return where a generator of :func:`generator` is in its stream, as plain numbers and lists."""
    state = rng.bit_generator.state
    return {
        "words": [int(word) for word in state["state"]["state"]],
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def set_generator_state(rng: np.random.Generator, state: dict[str, Any]) -> None:
    """Put a generator where :func:`generator_state` found one."""
    rng.bit_generator.state = {
        "bit_generator": "SFC64",
        "state": {"state": np.array(state["words"], dtype=np.uint64)},
        "has_uint32": state["has_uint32"],
        "uinteger": state["uinteger"],
    }
