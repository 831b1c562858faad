"""``docs/commands.md``: the commands of ``droq-exp`` with their arguments and options, as the program declares them."""

from __future__ import annotations

from typing import Any

import typer.main

from droq_exp.cli.app import app

_HEAD = """\
# Commands

`python scripts/write_configuration.py` writes this page from what the program says itself.

`python launch.py` trains ([start](start.md), [keys](configuration.md)); `python launch.py --help` lists its groups,
keys and flags. `python -m droq_exp` and `droq-exp-train` are the same program. `droq-exp` does everything else.
"""


def commands_page() -> str:
    """The page, whole."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return _HEAD + "".join(_section(name, command) for name, command in commands.items())


def _section(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    usage = " ".join(["droq-exp", name, *map(_shown, arguments), *(["[OPTIONS]"] if options else [])])
    rows = [(f"`{each.metavar or each.name.upper()}`", each.help or "") for each in arguments]
    rows += [(f"`{', '.join([*each.opts, *each.secondary_opts])}`", each.help or "") for each in options]
    paragraphs = " ".join(command.help.split())
    text = f"\n## {name}\n\n    {usage}\n\n{paragraphs}\n"
    if rows:
        text += "\n| | |\n| --- | --- |\n" + "".join(f"| {what} | {_in_table(meaning)} |\n" for what, meaning in rows)
    return text


def _shown(argument: Any) -> str:
    shown: str = argument.metavar or argument.name.upper()
    if argument.nargs != 1 and not shown.endswith("..."):
        shown += "..."
    return shown if argument.required else f"[{shown}]"


def _in_table(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
