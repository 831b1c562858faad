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
        problem: what is wrong with it, and what is allowed where that is short.
        suggestion: a valid name near what was typed, or None.
        allowed: what is allowed, where that is a long list: it comes after the suggestion.
    """

    def __init__(self, key: str, problem: str, suggestion: str | None = None, allowed: str = "") -> None:
        """Put them together; line breaks become spaces."""
        self.key, self.problem, self.suggestion, self.allowed = key, problem, suggestion, allowed
        meant = f"; did you mean {suggestion}?" if suggestion else ""
        line = f"{key}: {problem}{meant}" + (f"{'' if meant else ';'} {allowed}" if allowed else "")
        super().__init__(" ".join(line.split()))

    def noting(self, where: str) -> ConfigError:
        """The same error, saying ``where`` it is."""
        return ConfigError(self.key, f"{self.problem} ({where})", self.suggestion, self.allowed)

    def at(self, point: str) -> ConfigError:
        """The same error, naming the point of a sweep that has it."""
        return self.noting(f"sweep point: {point}") if point else self


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
