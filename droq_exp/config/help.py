"""``--help``: the flags, every group with its choices, every key with what it may be; nothing is composed for it."""

from __future__ import annotations

import argparse
import typing
from typing import Any

from omegaconf import OmegaConf

from droq_exp.config.files import GROUPS, choices, conf_directory
from droq_exp.config.keys import CODEBASES, LAUNCHERS, hardware_with, known_keys
from droq_exp.config.rules import RELATIONS, RULES

_EXAMPLES = """\
Train SAC, REDQ, DroQ, DUVN and their relatives on continuous-control tasks.

  python launch.py algo=droq env=hopper                            one run
  python launch.py algo=redq env=ant codebase=ku seed=3 training.total_steps=20000
  python launch.py algo=droq env=hopper "seed=[0,1,2,3]"           four seeds side by side in one process
  python launch.py -m algo=sac,droq env=hopper,walker2d seed=0,1   a sweep: one run after the other
  python launch.py env=gym env.id=Pendulum-v1                      any registered task with continuous actions"""


def help_text(parser: argparse.ArgumentParser) -> str:
    """The whole text."""
    sections = {
        "Groups (group=choice)": [(group, _choices(group)) for group in GROUPS],
        "Keys (key=value; --cfg job prints the values of a run)": list(_keys().items()),
        "Flags": [(", ".join(action.option_strings), str(action.help)) for action in _flags(parser)],
    }
    return "\n\n".join([_EXAMPLES, *(f"{title}:\n{_table(rows)}" for title, rows in sections.items())])


def _table(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {words}".rstrip() for name, words in rows)


def _flags(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def _choices(group: str) -> str:
    names = " | ".join(choices(group))
    default = next(entry[group] for entry in _defaults() if group in entry)
    if group == "logger":
        return f"{names}, several as [a,b] (csv is always on)"
    return f"{names} ({'none by default' if default is None else f'default: {default}'})"


def _defaults() -> list[dict[str, Any]]:
    entries = OmegaConf.to_container(OmegaConf.load(conf_directory() / "config.yaml"))["defaults"]  # type: ignore[call-overload,index]
    return [entry for entry in entries if isinstance(entry, dict)]


def _keys() -> dict[str, str]:
    keys: dict[str, str] = {}
    for codebase in CODEBASES:
        for key, annotation in known_keys(codebase).items():
            if not key.endswith(("_target_", ".name", ".launcher")) and _is_value(annotation):
                keys.setdefault(key, _allowed(key, annotation))
    for key in keys:
        if any(key not in known_keys(codebase) for codebase in CODEBASES):
            keys[key] += f" ({', '.join(codebase for codebase in CODEBASES if key in known_keys(codebase))} only)"
    for launcher in LAUNCHERS:
        for key, annotation in known_keys("redq", launcher).items():
            if hardware := hardware_with(key):
                keys[key] = f"{_allowed(key, annotation)} (hardware={' or '.join(hardware)} only)"
    return keys


def _is_value(annotation: Any) -> bool:
    parts = (annotation, *typing.get_args(annotation))
    return not any(hasattr(part, "__dataclass_fields__") for part in parts)


def _allowed(key: str, annotation: Any) -> str:
    if key in RULES:
        return RULES[key].allowed
    for relation in RELATIONS:
        if relation.key == key:
            return relation.words
    simple = {bool: "true or false", str: "a text", str | None: "a text, or null"}
    return simple.get(annotation, "keyword arguments of the task: env.kwargs.<name>=<value>")
