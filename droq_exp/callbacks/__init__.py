"""What watches the evaluations of a seed and may stop it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from droq_exp.callbacks.base import Callback, Stop
from droq_exp.exits import no_exit
from droq_exp.runs.status import CUT_SHORT

__all__ = ["Callback", "Callbacks", "Stop", "build"]


@no_exit()
def build(block: Mapping[str, Any]) -> Callback:
    """Make a callback of its ``_target_`` and its keys; TypeError where that makes none."""
    keys = {key: value for key, value in block.items() if key != "_target_"}
    made: Callback = get_object(block["_target_"])(**keys)
    missing = [name for name in ("evaluated", "state", "load_state") if not callable(getattr(made, name, None))]
    if missing:
        raise TypeError(f"{block['_target_']} is no callback: it has no {', '.join(missing)}")
    return made


class Callbacks:
    """All callbacks of one seed."""

    @no_exit()
    def __init__(self, config: Mapping[str, Mapping[str, Any]], directory: Path) -> None:
        """Build what ``config`` holds by name, for the run in ``directory``."""
        self._callbacks = {name: build(block) for name, block in config.items()}
        for callback in self._callbacks.values():
            if callable(getattr(callback, "placed", None)):
                callback.placed(directory)

    @no_exit()
    def evaluated(self, step: int, metrics: Mapping[str, float]) -> Stop | None:
        """Tell all of an evaluation; return what is to end the seed, its reason in one line, or None.

        Where several do, "stopped" goes before "pruned".
        """
        answers = {name: callback.evaluated(step, dict(metrics)) for name, callback in self._callbacks.items()}
        for name, answer in answers.items():
            if not (answer is None or (isinstance(answer, Stop) and _is_whole(answer))):
                raise TypeError(f"the callback {name} answers {answer!r}, which is neither Stop(<text>) nor None")
        stops = {name: answer for name, answer in answers.items() if answer is not None}
        if not stops:
            return None
        reasons = [f"{name}: {' '.join(stop.reason.split())}" for name, stop in stops.items()]
        return Stop("; ".join(reasons), "stopped" if "stopped" in {stop.state for stop in stops.values()} else "pruned")

    @no_exit()
    def state(self) -> dict[str, str]:
        """The state of each by name, as JSON: a checkpoint reads nothing back that could execute."""
        return {name: _as_json(name, callback.state()) for name, callback in self._callbacks.items()}

    @no_exit()
    def load_state(self, states: Mapping[str, str]) -> None:
        """Go on where ``states`` were taken."""
        for name, callback in self._callbacks.items():
            callback.load_state(json.loads(states[name]))


def _is_whole(stop: Stop) -> bool:
    return isinstance(stop.reason, str) and stop.state in CUT_SHORT


def _as_json(name: str, state: Any) -> str:
    try:
        return json.dumps(state)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the state of the callback {name} cannot be kept: {error}") from error
