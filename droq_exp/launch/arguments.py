"""The arguments of the training command: its parser, what other programs' flags are here, and how it refuses."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from droq_exp import __version__

LONGEST_WORD = 1000  # that is shown whole

# Of Hydra or of other programs: what each is for, and the way that works here.
_FLAGS = {
    "--config-name and --config-path": (
        ("-cn", "--config-name", "-cp", "--config-path"),
        "the configuration is always this project's; experiment=<name> with --config-dir=<folder> chooses yours",
    ),
    "--dry-run": (("-n", "--dry-run"), "`droq-exp plan` shows what a command would do, --cfg job its values"),
    "--run": (("-r", "--run"), "it runs without a flag; -m makes it a sweep"),
    "--shell-completion": (("-sc", "--shell-completion"), "there is none"),
    "--experimental-rerun": (("--experimental-rerun",), "the same command continues a run"),
    "--output-dir": (("-o", "--output", "--output-dir"), "output_dir=<folder> says where runs are"),
}
FLAGS = {flag: (name, way) for name, (flags, way) in _FLAGS.items() for flag in flags}


def new_parser() -> argparse.ArgumentParser:
    """The parser of the training command."""
    parser = _Parser(prog="launch.py", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="choices and values, as below")
    parser.add_argument(
        "-h", "--help", action="store_true", help="show this text; with words, such as algo.tau, these keys"
    )
    parser.add_argument("-m", "--multirun", action="store_true", help="a sweep: one run for each value of a,b,c")
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"], help="print the configuration and run nothing")
    parser.add_argument("-p", "--package", help="with --cfg: print only this part")
    parser.add_argument(
        "--resolve", action="store_true", help="with --cfg hydra or all: resolve values (job always does)"
    )
    parser.add_argument("-cd", "--config-dir", help="a directory with further choices (experiment/mine.yaml, ...)")
    parser.add_argument(
        "-i",
        "--info",
        nargs="?",
        const="all",
        choices=["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"],
        help="show how Hydra composes the configuration",
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="allow targets and tasks from this package (SECURITY.md)",
    )
    parser.add_argument("--hydra-help", action="store_true", help="show Hydra's own help")
    parser.add_argument(
        "--version", action="version", version=f"droq_exp {__version__}", help="show this project's version"
    )
    for flag in FLAGS:
        parser.add_argument(flag, nargs="?", action=_Elsewhere, dest="_", help=argparse.SUPPRESS)
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        keys = "; keys are typed as key=value" if message.startswith("unrecognized") else ""
        refuse(f"{message}{keys}; see --help")


class _Elsewhere(argparse.Action):
    """A flag of other programs or of Hydra itself, so that no part of it is read as another one."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, values: object, flag: str | None = None) -> NoReturn:
        name, way = FLAGS[str(flag)]
        refuse(f"{name}: no flag of this program; {way}")


def refuse(problem: str) -> NoReturn:
    """Say in one line why the command is refused, and exit with code 2; of a path without end the ends are shown."""
    words = (word if len(word) <= LONGEST_WORD else f"{word[:50]}...{word[-50:]}" for word in problem.split(" "))
    print(f"error: {' '.join(words)}", file=sys.stderr)
    sys.exit(2)


def check_working_directory() -> None:
    """Refuse to work in a directory that has been deleted: relative paths mean nothing there, and torch aborts."""
    try:
        os.getcwd()
    except FileNotFoundError:
        refuse("the working directory has been deleted; cd to one that is there")


def refuse_name(error: OSError) -> NoReturn:
    """Refuse what names a file that no file system can have; any other error goes on."""
    if error.errno != errno.ENAMETOOLONG:
        raise error
    refuse(f"{error.filename}: {error.strerror}")


def with_config_dir(overrides: Sequence[str], directory: str | os.PathLike[str] | None) -> list[str]:
    """``overrides`` that also find the choices in ``directory``, as by --config-dir.

    Raises:
        ConfigError: it is none.
    """
    from droq_exp.config import ConfigError
    from droq_exp.config.overrides import quoted

    if directory is None:
        return list(overrides)
    if not Path(directory).is_dir():
        raise ConfigError("--config-dir", f"{directory} is not a directory")
    return [f"hydra.searchpath=[{quoted(f'file://{Path(directory).resolve()}')}]", *overrides]


def named_by_user(overrides: Sequence[str], directory: str | os.PathLike[str] | None) -> list[str]:
    """What a training command may build since its user names it: as typed, and in the directory of --config-dir.

    Raises:
        ConfigError: an override that cannot be read.
    """
    from droq_exp.config import targets_of_directory, task_modules, typed_targets

    own = [] if directory is None else targets_of_directory(directory)
    return [*task_modules(overrides), *typed_targets(overrides), *own]
