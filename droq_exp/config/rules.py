"""What every value may be, as a table: key, words for what is allowed, test."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from droq_exp.config.schema import Config

MAX_SEED = 2**31 - 1


class Rule(NamedTuple):
    """Values that pass ``accepts`` are allowed; ``allowed`` says so in words."""

    allowed: str
    accepts: Callable[[Any], bool]
    names: tuple[str, ...] = ()  # to suggest one near what was typed


def _at_least(low: int) -> Rule:
    return Rule(f"an integer, at least {low}", lambda value: value >= low)


def _one_of(*names: str) -> Rule:
    return Rule("one of " + ", ".join(names), lambda value: value in names, names)


def _or_null(rule: Rule) -> Rule:
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
NOT_EMPTY = Rule("a text that is not empty", lambda value: bool(value.strip()))
FOLDER = Rule(
    "a plain folder name of letters, digits, '.', '_' and '-' that does not start with '.'",
    lambda value: re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", value) is not None,
)

RULES: dict[str, Rule] = {
    "seed": Rule(f"an integer from 0 to {MAX_SEED}, or a list of different ones", _are_seeds),
    "experiment_name": FOLDER,
    "output_dir": NOT_EMPTY,
    "algo.num_critics": _at_least(1),
    "algo.target_mode": _one_of("min", "ave", "rem"),
    "algo.target_passes": _at_least(1),
    "algo.dropout_rate": Rule("a number in [0, 1)", lambda value: 0 <= value < 1),
    "algo.hidden_sizes": Rule(
        "a list of at least one integer, each at least 1",
        lambda sizes: bool(sizes) and all(size >= 1 for size in sizes),
    ),
    "algo.utd_ratio": _at_least(1),
    "algo.batch_size": _at_least(1),
    "algo.gamma": Rule("a number in [0, 1]", lambda value: 0 <= value <= 1),
    "algo.tau": Rule("a number in (0, 1]", lambda value: 0 < value <= 1),
    "algo.critic_learning_rate": POSITIVE,
    "algo.actor_learning_rate": POSITIVE,
    "algo.temperature_learning_rate": POSITIVE,
    "algo.target_entropy": _or_null(FINITE),
    "algo.initial_temperature": POSITIVE,
    "env.id": Rule("the id of a task registered with Gymnasium, with continuous actions", bool),
    "codebase.policy_update_delay": _at_least(1),
    "codebase.first_alpha": _or_null(POSITIVE),
    "training.total_steps": _at_least(1),
    "training.start_steps": _at_least(0),
    "training.replay_size": Rule("an integer greater than training.start_steps", lambda value: value >= 1),
    "eval.interval": _at_least(1),
    "checkpoint.interval": _at_least(1),
    "eval.episodes": _at_least(1),
    "bias.min_pairs": _at_least(1),
    "bias.steps_per_episode": _at_least(1),
    "bias.temperature": _or_null(NOT_NEGATIVE),
    "hardware.device": Rule(
        "auto, cpu, cuda or cuda:<index>", lambda value: re.fullmatch(r"auto|cpu|cuda(:\d+)?", value) is not None
    ),
    "hardware.threads": _or_null(Rule("an integer from 1 to 1024", lambda value: 1 <= value <= 1024)),
    "hardware.updates": _one_of("auto", "native", "graphs", "compile", "eager"),
    "hardware.precision": _one_of("fp32", "tf32", "bf16"),
    "hardware.seeds_per_job": _at_least(1),
    "hardware.poll_seconds": POSITIVE,
    "hardware.partition": _or_null(NOT_EMPTY),
    "hardware.account": _or_null(NOT_EMPTY),
    "hardware.qos": _or_null(NOT_EMPTY),
    "hardware.constraint": _or_null(NOT_EMPTY),
    "hardware.gpus_per_node": _at_least(0),
    "hardware.cpus": _at_least(1),
    "hardware.memory_gb": POSITIVE,
    "hardware.hours": POSITIVE,
    "hardware.array_parallelism": _at_least(1),
    "hardware.setup": Rule(
        "a list of shell lines", lambda lines: all(line.strip() and "\n" not in line for line in lines)
    ),
    "hardware.signal_delay_seconds": _at_least(1),
    "hardware.max_requeues": _at_least(0),
    "hardware.jobs": _at_least(1),
    "logger.wandb.mode": _one_of("offline", "online"),
    "logger.wandb.project": NOT_EMPTY,
    "logger.wandb.init_timeout": POSITIVE,
}


class Relation(NamedTuple):
    """A rule between several values of a configuration."""

    key: str
    allowed: Callable[[Config], str]
    words: str  # for --help, without the values
    holds: Callable[[Config], bool]


RELATIONS = (
    Relation(
        "algo.num_min",
        lambda config: f"a number from 1 to algo.num_critics={config.algo.num_critics}",
        "a number from 1 to algo.num_critics; 2.3 is 2 with probability 0.7, else 3",
        lambda config: 1 <= config.algo.num_min <= config.algo.num_critics,
    ),
    Relation(
        "training.replay_size",
        lambda config: f"an integer greater than training.start_steps={config.training.start_steps}",
        "an integer greater than training.start_steps",
        lambda config: (
            config.training.replay_size > config.training.start_steps
            or config.training.total_steps <= config.training.start_steps
        ),
    ),
)
