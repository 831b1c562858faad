"""What a callback is told of its seed, and what it may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class Stop:
    """The seed is to end here, in order; ``reason`` says why, in one line.

    ``state`` is how: "stopped" says that more steps are not needed, "pruned" that they are not worth their time.
    """

    reason: str
    state: Literal["stopped", "pruned"] = "stopped"


class Callback(Protocol):
    """Watches one seed: each has an object of its own, made with the callback's keys and nothing else.

    It is made once more when the configuration is checked: a ValueError there refuses the command in one line. What it
    raises later fails its seed.
    """

    def placed(self, directory: Path) -> None:
        """Be told the directory of the seed's run, once, before anything is asked; a class need not have this."""

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> Stop | None:
        """Be told of an evaluation, by what loggers get of it: "eval/return_mean", "train/critic_loss" and so on.

        Asked after the last step too. For a resumed run to end as an uninterrupted one does, the answer may depend on
        the state and on these metrics alone, those of time left aside.
        """

    def state(self) -> dict[str, Any]:
        """What later answers depend on, for the checkpoint: what JSON holds, with texts as keys."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
