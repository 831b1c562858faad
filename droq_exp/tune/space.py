"""The terms of a search space: which keys are searched, and among which values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from droq_exp.config import ConfigError, overrides
from droq_exp.config.files import GROUPS
from droq_exp.config.keys import CODEBASES, LAUNCHERS, Key, known_keys
from droq_exp.config.parts import Parts
from droq_exp.config.rules import FORMS, kind_of

Kind = Literal["log", "range", "choice"]
Value = float | int | str
FORM = "log(a,b), range(a,b), range(a,b,step) or choice(a,b,...)"
CALL = re.compile(r"\+{0,2}(?P<key>[^=\s()]+)=(?P<name>[A-Za-z_]+)\((?P<inside>.*)\)\s*", re.DOTALL)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
SEARCHABLE = "algo"  # of the groups: returns of other tasks do not compare, and the rest is no part of what a run is


@dataclass(frozen=True)
class Term:
    """The values among which one key is searched.

    Args:
        key: its dotted name.
        kind: ``log`` and ``range``: from ``low`` to ``high``, both among them, evenly by their logarithms or by
            themselves; ``choice``: one of ``values``.
        low: None of a choice.
        high: None of a choice.
        step: of a range, from ``low`` on; None: any number, or of integers each.
        integer: whether the key takes integers alone.
        values: of a choice, as texts that Hydra reads.
    """

    key: str
    kind: Kind
    low: float | None = None
    high: float | None = None
    step: float | None = None
    integer: bool = False
    values: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What would be typed after ``key=``, the same for every spelling of it."""
        numbers = [number for number in (self.low, self.high, self.step) if number is not None]
        return f"{self.kind}({','.join(self.values or [_shown(number) for number in numbers])})"

    @property
    def corners(self) -> tuple[Value, ...]:
        """The values at the ends, or all of a choice."""
        return self.values or tuple(number for number in (self.low, self.high) if number is not None)

    def override(self, value: Value) -> str:
        """What sets the key to ``value``."""
        return f"{self.key}={value}" if isinstance(value, str) else f"{self.key}={value!r}"


def without_terms(lines: Sequence[str]) -> list[str]:
    """The plain overrides among ``lines``."""
    return [line for line in lines if CALL.fullmatch(line) is None]


def split(lines: Sequence[str], block: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """The terms among ``lines``, each key with its text, and the plain overrides.

    Args:
        lines: as typed.
        block: the terms of the experiment; a key that ``lines`` set, or search elsewhere, is theirs.

    Raises:
        ConfigError: a key given twice, a sweep, or something that only looks like a term.
    """
    terms: dict[str, str] = {}
    plain = without_terms(lines)
    for call in filter(None, map(CALL.fullmatch, lines)):
        if call["key"] in terms:
            raise ConfigError(call["key"], "is given twice; a search has one term for each key")
        terms[call["key"]] = f"{call['name']}({call['inside']})"
    parsed = overrides.parse(plain)
    for item in parsed:
        key = item.key_or_group
        if item.is_sweep_override():
            raise ConfigError(key, f"{item.get_value_string()} is several values; {key}=choice(a,b,...) searches them")
    given = {
        key for item in parsed for key in ([item.key_or_group] if overrides.is_group(item) else overrides.keys(item))
    }
    for key in given & terms.keys():
        raise ConfigError(key, "is given twice, as a value and as a term of the search")
    return {key: str(text) for key, text in block.items() if key not in given} | terms, plain


def parse(terms: Mapping[str, str], parts: Parts) -> list[Term]:
    """Make the terms of their texts, by the types that the schema gives their keys.

    Args:
        terms: each key with its text.
        parts: the unusual parts of the algorithm, which have keys of their own.

    Raises:
        ConfigError: one that cannot be searched.
    """
    return [_term(key, text, _key(key, parts)) for key, text in sorted(terms.items())]


def _key(key: str, parts: Parts) -> Key | None:
    """What the schema says of ``key``; None of one that it does not know."""
    kinds = ((codebase, launcher) for codebase in CODEBASES for launcher in LAUNCHERS)
    return next((found for kind in kinds if (found := known_keys(*kind, parts).get(key)) is not None), None)


def _term(key: str, text: str, known: Key | None) -> Term:
    call = CALL.fullmatch(f"{key}={text}")
    if call is None or call["name"] not in get_args(Kind):
        raise ConfigError(key, f"{text} is no term of a search; it is {FORM}")
    if key == "seed":
        raise ConfigError(key, "is not searched: --seeds says with how many seeds each trial is made")
    if key in GROUPS and key != SEARCHABLE:
        raise ConfigError(key, f"is not searched; of the groups, {SEARCHABLE} alone can be")
    if call["name"] == "choice":
        return Term(key, "choice", values=_choices(key, text))
    return _interval(key, text, call["name"], call["inside"], known)


def _choices(key: str, text: str) -> tuple[str, ...]:
    (item,) = overrides.parse([f"{key}={text}"])
    values = tuple(item.sweep_string_iterator())
    if len({*values}) < max(2, len(values)):
        raise ConfigError(key, f"{text} needs several values, all different")
    return values


def _interval(key: str, text: str, kind: Any, inside: str, known: Key | None) -> Term:
    annotation = None if known is None else kind_of(known.annotation)[0]
    if key in GROUPS or (known is not None and annotation not in (int, float, float | str)):
        what = FORMS[annotation].words if annotation in FORMS else "a choice" if key in GROUPS else "a block of keys"
        raise ConfigError(key, f"{text} is of numbers, and this is {what}; choice(a,b,...) searches it")
    words = [part.strip().removeprefix("step=") for part in inside.split(",")]
    if len(words) not in ((2, 3) if kind == "range" else (2,)) or not all(map(NUMBER.fullmatch, words)):
        raise ConfigError(key, f"{text} is no term of a search; it is {FORM}")
    integer = annotation is int or (annotation is None and not any(set(".eE") & {*word} for word in words))
    numbers = [float(word) for word in words]
    if integer:
        if not all(number.is_integer() for number in numbers):
            raise ConfigError(key, f"{text}: the key takes integers alone")
        numbers = [int(number) for number in numbers]
    low, high, step = (*numbers, None)[:3]
    assert low is not None
    assert high is not None
    if not (math.isfinite(low) and low < high < math.inf):
        raise ConfigError(key, f"{text}: the first number must be less than the second")
    if kind == "log" and low <= 0:
        raise ConfigError(key, f"{text}: only numbers above 0 have a logarithm; range(a,b) reaches to 0 and below")
    if step is not None and (step <= 0 or not math.isclose((high - low) / step, round((high - low) / step))):
        raise ConfigError(key, f"{text}: the step must lead from the first number to the second")
    return Term(key, kind, low, high, step, integer)


def _shown(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.15g}"
