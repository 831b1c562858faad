"""What watches the evaluations of a seed and may stop it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object

from droq_exp.callbacks.base import Callback, Stop
from droq_exp.exits import no_exit

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

    def __init__(self, config: Mapping[str, Mapping[str, Any]]) -> None:
        """Build what ``config`` holds by name."""
        self._callbacks = {name: build(block) for name, block in config.items()}

    @no_exit()
    def evaluated(self, step: int, metrics: Mapping[str, float]) -> str | None:
        """Tell all of an evaluation; return why the seed is to stop, in one line, or None."""
        answers = {name: callback.evaluated(step, dict(metrics)) for name, callback in self._callbacks.items()}
        for name, answer in answers.items():
            if not (answer is None or (isinstance(answer, Stop) and isinstance(answer.reason, str))):
                raise TypeError(f"the callback {name} answers {answer!r}, which is neither Stop(<text>) nor None")
        reasons = [f"{name}: {' '.join(stop.reason.split())}" for name, stop in answers.items() if stop is not None]
        return "; ".join(reasons) or None

    @no_exit()
    def state(self) -> dict[str, str]:
        """The state of each by name, as JSON: a checkpoint reads nothing back that could execute."""
        return {name: _as_json(name, callback.state()) for name, callback in self._callbacks.items()}

    @no_exit()
    def load_state(self, states: Mapping[str, str]) -> None:
        """Go on where ``states`` were taken."""
        for name, callback in self._callbacks.items():
            callback.load_state(json.loads(states[name]))


def _as_json(name: str, state: Any) -> str:
    try:
        return json.dumps(state)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the state of the callback {name} cannot be kept: {error}") from error
