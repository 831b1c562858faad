"""``--help`` and ``docs/configuration.md``: the flags, every group with its choices, every key as the schema has it.

Nothing is composed for it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from droq_exp.config.algorithms import algorithms, by_purpose
from droq_exp.config.errors import ConfigError, nearest, shown
from droq_exp.config.files import GROUPS, choices, conf_directory
from droq_exp.config.habits import key_meant
from droq_exp.config.keys import ALWAYS, CODEBASES, LAUNCHERS, OPEN, Key, hardware_with, is_part, known_keys
from droq_exp.config.parts import Parts
from droq_exp.config.schema import TARGET

_EXAMPLES = """\
Train SAC, REDQ, DroQ, DUVN and their relatives on continuous-control tasks.

  python launch.py algo=droq env=hopper                            one run
  python launch.py algo=redq env=ant codebase=ku seed=3 training.total_steps=20000
  python launch.py algo=droq env=hopper "seed=[0,1,2,3]"           four seeds together in one process
  python launch.py -m algo=sac,droq env=hopper,walker2d seed=0,1   a sweep: one run after another
  python launch.py env=gym env.id=Pendulum-v1                      any registered task with continuous actions"""

_DOCUMENT = """\
# Configuration

Every group and every key of a run. `python scripts/write_configuration.py` writes this page from
`droq_exp/config/schema.py` and `conf/`; a key's type, default, rule and meaning stand there, once.

`python launch.py <overrides> --cfg job` prints the values of a run. Precedence, from the weakest: the defaults
below, `codebase`, `algo`, `env`, the other groups in the order of the table, `debug`, the command line. A choice is a
file `conf/<group>/<choice>.yaml`; with `# @package _global_` in its first line it may set keys outside its group too.

## Groups

`<group>=<choice>` on the command line.

{groups}

## Algorithms

`algo=<choice>`. The cost is that of an environment step's updates relative to SAC at UTD 1, on a CPU
([performance.md](performance.md)).

{algorithms}

## Keys

`<key>=<value>` on the command line. Where choices of a group have values of their own, the default names them; a
*table* value is that of the task's row in the code base's tables (`conf/codebase/`).
{keys}"""

_OWN_ENTRY = f"{TARGET}; its parameters are the keys beside it"

# Of the command's blocks, in the order of the page; the top level is "".
_BLOCKS = {
    "": "The run",
    "algo": "Algorithm",
    "env": "Task",
    "codebase": "Code base",
    "training": "Training",
    "eval": "Evaluation",
    "bias": "Bias of the critics",
    "checkpoint": "Checkpoints",
    "hardware": "Hardware",
    "logger": "Loggers",
    "callbacks": "Callbacks",
}


def help_text(parser: argparse.ArgumentParser, parts: Parts = (), directories: Sequence[Path] = ()) -> str:
    """The whole text.

    Args:
        parser: knows the flags.
        parts: the unusual parts of the algorithm that is chosen.
        directories: further ones with choices.
    """
    keys = _key_rows(parts) + [(_own_entry(group), _OWN_ENTRY) for group in OPEN]
    sections = {
        "Groups (group=choice)": [(group, _choices(group, directories)) for group in GROUPS],
        "Keys (key=value; --cfg job prints the values of a run, docs/configuration.md all defaults)": keys,
        "Flags": [(", ".join(action.option_strings), str(action.help)) for action in _flags(parser)],
    }
    texts = {title: _table(rows) for title, rows in sections.items()}
    groups, *others = (f"{title}:\n{text}" for title, text in texts.items())
    return "\n\n".join([_EXAMPLES, groups, _algorithms(directories), *others])


def help_on(
    words: Sequence[str], parts: Parts = (), entries: Callable[[], Mapping[str, Mapping[str, Any]]] = dict
) -> str:
    """The lines of the keys that have one of ``words`` in their names, and of the groups.

    Args:
        words: which are asked for.
        parts: the unusual parts of the algorithm that is chosen.
        entries: gives the blocks of loggers and callbacks that are chosen, by place; it is asked for those that are
            not this project's, where nothing else has a word.

    Raises:
        ConfigError: there is none.
    """
    found = []
    for word in words:
        meant = (key_meant(word) or "").partition("=")[0].split(" and ")  # by another name
        rows = _rows_on(word, parts) or [row for name in meant if name for row in _rows_on(name, parts)]
        if not rows:
            rows = [row for place, block in entries().items() for row in _entry_rows(place, block) if word in row[0]]
        if not rows:
            names = [name for name, _ in _key_rows(parts)]
            raise ConfigError(word, "no key and no group has it in its name; --help lists all", nearest(word, names))
        found += rows
    return _table(list(dict.fromkeys(found)))


def _entry_rows(place: str, block: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The keys of one that is not this project's: nobody but its class knows what they mean."""
    of = f"of {block.get('_target_')}"
    own = [(f"{place}.{name}", f"{of} [{shown(value)}]") for name, value in block.items() if name != "_target_"]
    return [(f"{place}._target_", of), *own]


def _rows_on(word: str, parts: Parts) -> list[tuple[str, str]]:
    groups = [(group, _choices(group)) for group in GROUPS if word == group]
    return groups + [row for row in _key_rows(parts) if word.casefold() in row[0]]


def _key_rows(parts: Parts = ()) -> list[tuple[str, str]]:
    return [(name, f"{key.meaning} [{key.allowed}]{_only(name)}") for name, key in _keys(parts).items()]


def configuration_page() -> str:
    """``docs/configuration.md``, whole."""
    groups = [("Group", "Choices"), *((f"`{group}`", _choices(group)) for group in GROUPS)]
    rows = [("Algorithm", "For", "Cost", "What it is")]
    for purpose, members in by_purpose(algorithms()).items():
        rows += [(f"`{each.name}`", purpose, str(each.cost), each.meaning) for each in members]
    keys = "".join(map(_block_section, _BLOCKS))
    return _DOCUMENT.format(groups=_markdown(groups), algorithms=_markdown(rows), keys=keys)


def _algorithms(directories: Sequence[Path]) -> str:
    """What each is for, a line for each, with its cost."""
    groups = by_purpose(algorithms(directories))
    width = max(len(each.name) for members in groups.values() for each in members)
    lines = ["Algorithms (algo=choice; [cost of an environment step's updates, relative to SAC at UTD 1]):"]
    for purpose, members in groups.items():
        lines.append(f"  for {purpose}")
        for each in members:
            cost = f" [{each.cost}]" if each.cost else ""
            lines.append(f"    {each.name:<{width}}  {each.meaning}{cost}")
    return "\n".join(lines)


def _block_section(block: str) -> str:
    rows = [("Key", "Allowed", "Default", "Meaning")]
    for name, key in _keys().items():
        if name.rpartition(".")[0].partition(".")[0] == block:
            rows.append((f"`{name}`", key.allowed, _shown_default(key), f"{key.meaning}{_only(name)}"))
    if block in OPEN:
        rows.append((f"`{_own_entry(block)}`", "the name of a class", "none", _OWN_ENTRY))
    return f"\n### {_BLOCKS[block]}\n\n{_markdown(rows)}\n"


def _own_entry(group: str) -> str:
    """The key by which a user's own entry of an open group is typed."""
    return f"{group}.<name>._target_"


def _shown_default(key: Key) -> str:
    choosers: dict[str, list[str]] = {}
    for choice, content in _choice_contents():
        if (value := _select(content, key.name)) not in (MISSING, key.default):
            choosers.setdefault(_shown(value), []).append(choice)
    if "config" in choosers.get("table", ()):
        return "table"
    own = [] if key.default == MISSING else [_shown(key.default)]
    return "; ".join([*own, *(f"{', '.join(names)}: {shown}" for shown, names in choosers.items())])


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return "table" if value.startswith(("${paper:", "${oc.select:paper.")) else f"`{value}`"
    return f"`{json.dumps(value)}`"


@cache
def _choice_contents() -> list[tuple[str, Any]]:
    """What the files of ``conf/`` say themselves, with the name of the choice; "config" is ``config.yaml``."""
    contents: list[tuple[str, Any]] = [("config", OmegaConf.load(conf_directory() / "config.yaml"))]
    for group in ("algo", "env", "codebase", "hardware", "logger", "callbacks"):
        for choice in choices(group):
            file = conf_directory() / group / f"{choice}.yaml"
            content = OmegaConf.load(file)
            is_global = "# @package _global_" in file.read_text(encoding="utf-8")
            contents.append((choice, content if is_global else OmegaConf.create({group: content})))
    return [(choice, OmegaConf.to_container(content, resolve=False)) for choice, content in contents]


def _select(content: Any, key: str) -> Any:
    for name in key.split("."):
        if not isinstance(content, dict) or name not in content:
            return MISSING
        content = content[name]
    return content


def _markdown(rows: list[Any]) -> str:
    head, *others = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others))


def _table(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {words}".rstrip() for name, words in rows)


def _flags(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings and action.help != argparse.SUPPRESS]


def _choices(group: str, directories: Sequence[Path] = ()) -> str:
    names = " | ".join(choices(group, directories))
    default = next(entry[group] for entry in _defaults() if group in entry)
    if group in OPEN:
        return f"{names}, several as [a,b] ({'csv is always on' if group in ALWAYS else 'none by default'})"
    return f"{names} ({'none by default' if default is None else f'default: {default}'})"


def _defaults() -> list[dict[str, Any]]:
    entries = OmegaConf.to_container(OmegaConf.load(conf_directory() / "config.yaml"))["defaults"]  # type: ignore[call-overload,index]
    return [entry for entry in entries if isinstance(entry, dict)]


def _keys(parts: Parts = ()) -> dict[str, Key]:
    """The keys that a user may set, under any code base and any hardware."""
    kinds = [(codebase, "here") for codebase in CODEBASES] + [("redq", launcher) for launcher in LAUNCHERS]
    keys: dict[str, Key] = {}
    for kind in kinds:
        for name, key in known_keys(*kind, parts).items():
            if key.settable:
                keys.setdefault(name, key)
    return keys


def _only(name: str) -> str:
    """What else must be chosen for a key to exist, in words."""
    if is_part(name):
        return ""
    codebases = [codebase for codebase in CODEBASES if name in known_keys(codebase)]
    if hardware := hardware_with(name):
        return f" (hardware={' or '.join(hardware)} only)"
    return "" if len(codebases) == len(CODEBASES) else f" (codebase={' or '.join(codebases)} only)"
