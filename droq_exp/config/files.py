"""Where ``conf/`` is and which choices its groups have; nothing here imports Hydra, for a quick ``--help``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

GROUPS = ("algo", "env", "codebase", "hardware", "logger", "callbacks", "experiment", "debug")


def conf_directory() -> Path:
    """The absolute path of ``conf/``: package data in a wheel, beside the package in a checkout.

    Raises:
        FileNotFoundError: the package was installed without its configuration.
    """
    package = Path(__file__).resolve().parent.parent
    for directory in (package / "conf", package.parent / "conf"):
        if (directory / "config.yaml").is_file():
            return directory
    raise FileNotFoundError(f"no conf/config.yaml in {package} or beside it: install droq-exp again")


def choices(group: str, directories: Iterable[Path] = ()) -> list[str]:
    """The sorted choices of ``group`` in ``conf/`` and in further configuration ``directories``."""
    roots = (conf_directory(), *directories)
    return sorted({path.stem for root in roots for path in (root / group).glob("*.yaml")})
