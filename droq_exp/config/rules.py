"""The vocabulary of types and rules: what a value may be, in words and as a test. The schema gives each key its own."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable
from types import UnionType
from typing import Any, NamedTuple

MAX_SEED = 2**31 - 1
LONGEST_PATH = 1000  # characters; with what stands below it, it remains below the 4,096 of Linux
AUTO = "auto"  # the value of algo.dropout_rate for which nobody need name one


class Rule(NamedTuple):
    """Values that pass ``accepts`` are allowed; ``allowed`` says so in words."""

    allowed: str
    accepts: Callable[[Any], bool]
    names: tuple[str, ...] = ()  # to suggest one near what was typed
    convert: Callable[[Any], Any] = lambda value: value  # before the test, where no type says how


class Relation(NamedTuple):
    """A rule between several values of a configuration."""

    words: str  # without the values
    allowed: Callable[[Any], str]  # of a Config: the words with its values
    holds: Callable[[Any], bool]  # of a Config


class Form(NamedTuple):
    """What values of a type look like."""

    words: str
    accepts: Callable[[Any], bool]
    convert: Callable[[Any], Any]


def _from_text(value: Any, pattern: str, convert: Callable[[str], Any]) -> Any:
    """What the text of an interpolation such as ``${oc.env:SEED}`` stands for; any other value as it is."""
    return convert(value) if isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) else value


def _bool(value: Any) -> Any:
    return _from_text(value, "(?i:true|false)", lambda text: text.casefold() == "true")


def _int(value: Any) -> Any:
    return _from_text(value, r"[+-]?\d{1,19}", int)


def _float(value: Any) -> Any:
    return _from_text(value, r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", float)


def _ints(value: Any) -> Any:
    return [_int(item) for item in value] if isinstance(value, list) else value


FORMS: dict[Any, Form] = {
    bool: Form("true or false", lambda value: type(_bool(value)) is bool, _bool),
    int: Form("an integer", lambda value: type(_int(value)) is int, _int),
    float: Form("a number", lambda value: type(_float(value)) in (int, float), lambda value: float(_float(value))),
    str: Form("a text", lambda value: type(value) in (str, int), str),
    float | str: Form(
        "a number or a text",
        lambda value: type(value) in (int, float, str),
        lambda value: number if isinstance(number := _float(value), str) else float(number),
    ),
    list[int]: Form(
        "a list of integers",
        lambda value: isinstance(value, list) and all(type(item) is int for item in _ints(value)),
        _ints,
    ),
    list[float]: Form(
        "a list of numbers",
        lambda value: isinstance(value, list) and all(type(_float(item)) in (int, float) for item in value),
        lambda value: [float(_float(item)) for item in value],
    ),
    list[str]: Form(
        "a list of texts",
        lambda value: isinstance(value, list) and all(type(item) is str for item in value),
        list,
    ),
    list[dict[str, Any]]: Form(
        "a list of mappings",
        lambda value: isinstance(value, list) and all(isinstance(item, dict) for item in value),
        list,
    ),
    dict[str, Any]: Form("a mapping", lambda value: isinstance(value, dict), dict),
}


def kind_of(annotation: Any) -> tuple[Any, bool]:
    """A type without its "or None", and whether it has one."""
    if annotation in FORMS or not isinstance(annotation, UnionType):
        return annotation, False
    (kind,) = (part for part in typing.get_args(annotation) if part is not type(None))
    return kind, True


def type_words(annotation: Any) -> str:
    """What values of an annotated type are, in words."""
    kind, optional = kind_of(annotation)
    return FORMS[kind].words + (", or null" if optional else "")


def at_least(low: int) -> Rule:
    """Integers from ``low`` on."""
    return Rule(f"an integer, at least {low}", lambda value: value >= low)


def one_of(*names: str) -> Rule:
    """One of a few names."""
    return Rule("one of " + ", ".join(names), lambda value: value in names, names)


def or_null(rule: Rule) -> Rule:
    """What ``rule`` allows, and null."""
    return Rule(f"{rule.allowed}, or null", lambda value: value is None or rule.accepts(value))


def _is_seed(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_SEED


def _are_seeds(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) > 0 and all(map(_is_seed, value)) and len(set(value)) == len(value)
    return _is_seed(value)


POSITIVE = Rule("a finite number greater than 0", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Rule("a finite number, at least 0", lambda value: 0 <= value < math.inf)
FINITE = Rule("a finite number", math.isfinite)
FRACTION = Rule("a number in [0, 1]", lambda value: 0 <= value <= 1)
POSITIVE_FRACTION = Rule("a number in (0, 1]", lambda value: 0 < value <= 1)
RATE = Rule("a number in [0, 1)", lambda value: 0 <= value < 1)
RATE_OR_AUTO = Rule(
    "a number in [0, 1), or auto",
    lambda value: value == AUTO if isinstance(value, str) else RATE.accepts(value),
    (AUTO,),
)
RATES = Rule(
    "a list of at least one number in [0, 1), all different",
    lambda rates: bool(rates) and all(map(RATE.accepts, rates)) and len(set(rates)) == len(rates),
)
# These go into the lines that SLURM and a shell read: nothing may end the line or the word.
WORD = Rule(
    "a text without spaces, quotes or line breaks",
    lambda value: re.fullmatch(r"[^\s'\"`\\$;]+", value) is not None,
)
PATH = Rule(
    f"a path that is not empty, of at most {LONGEST_PATH:,} characters, without line breaks",
    lambda value: bool(value.strip()) and value.isprintable() and len(value) <= LONGEST_PATH,
)
# What wandb refuses (its Settings.validate_project), and what would not be one part of an address.
PROJECT = Rule(
    "a name of at most 128 characters, without / \\ # ? % :",
    lambda value: bool(value.strip()) and len(value) <= 128 and not set("/\\#?%:") & set(value),
)
ENTITY = Rule("a name without spaces or / \\ # ? % :", lambda value: re.fullmatch(r"[^\s/\\#?%:]+", value) is not None)
FOLDER = Rule(
    "a plain folder name of letters, digits, '.', '_' and '-' that does not start with '.'",
    lambda value: re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", value) is not None,
)
SEEDS = Rule(
    f"an integer from 0 to {MAX_SEED}, or a list of different ones",
    _are_seeds,
    convert=lambda value: _ints(_int(value)),
)
SIZES = Rule(
    "a list of at least one integer, each at least 1", lambda sizes: bool(sizes) and all(size >= 1 for size in sizes)
)
TASK = Rule("the id of a task registered with Gymnasium, with continuous actions", bool)
DEVICE = Rule("auto, cpu, cuda or cuda:<index>", lambda value: re.fullmatch(r"auto|cpu|cuda(:\d+)?", value) is not None)
THREADS = Rule("an integer from 1 to 1024", lambda value: 1 <= value <= 1024)
SHELL_LINES = Rule("a list of shell lines", lambda lines: all(line.strip() and "\n" not in line for line in lines))
