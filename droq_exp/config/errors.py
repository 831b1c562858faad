"""How a wrong configuration is reported: the key, what is allowed, the nearest valid name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any


class ConfigError(ValueError):
    """A configuration that no run can have; ``str`` of it is one line.

    Args:
        key: the configuration key, as one would type it.
        problem: what is wrong with it and what is allowed.
        suggestion: a valid name near what was typed, or None.
    """

    def __init__(self, key: str, problem: str, suggestion: str | None = None) -> None:
        """Put the three together; line breaks become spaces."""
        self.key, self.problem, self.suggestion = key, problem, suggestion
        line = f"{key}: {problem}" + (f"; did you mean {suggestion}?" if suggestion else "")
        super().__init__(" ".join(line.split()))

    def at(self, point: str) -> ConfigError:
        """The same error, naming the point of a sweep that has it."""
        return ConfigError(
            self.key, f"{self.problem} (sweep point: {point})" if point else self.problem, self.suggestion
        )


class OtherRunError(ConfigError):
    """A run directory holds another run than the configuration's, or results that it would delete: left as it is."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` most like ``name`` (case ignored), or None when nothing is near."""
    by_folded = {candidate.casefold(): candidate for candidate in names}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def shown(value: Any) -> str:
    """A value as one would type it, more or less."""
    return str(value) if isinstance(value, float) else json.dumps(value, default=str, ensure_ascii=False)
