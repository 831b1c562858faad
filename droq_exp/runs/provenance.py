"""What a run was made with: package versions and the git commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import droq_exp

PACKAGES = ("torch", "numpy", "gymnasium", "mujoco")
OTHER_CONTACTS = [3, 3, 6]  # the release of MuJoCo from which on they are not those of before (docs/fidelity.md)


@cache
def versions() -> dict[str, str | None]:
    """Versions of Python, of the packages that numbers depend on (None: not installed) and of this package."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    # Not from the metadata: an editable installation keeps there the version of the day it was made.
    found["droq_exp"] = droq_exp.__version__
    return found


@cache
def git_commit(package: Path = Path(droq_exp.__file__).parent) -> str | None:
    """Commit of the checkout that holds ``package``, with "+dirty" where tracked files were changed.

    None where there is none: installed from a wheel, or no git. A wheel inside a virtual environment inside somebody's
    checkout must not report that checkout's commit, so the package has to be tracked by it.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(package, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(package, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+dirty" if changes else commit


def _git(directory: Path, *arguments: str) -> str | None:
    # GIT_DIR and the like, set inside git hooks, would point elsewhere; optional locks would disturb the user's git.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def mujoco_versions(before: Mapping[str, Any]) -> list[str]:
    """All that have simulated a run, in order, where ``before`` is its status until now; {} of a new one."""
    earlier = before.get("mujoco_versions") or [(before.get("versions") or {}).get("mujoco")]
    return list(dict.fromkeys(str(each) for each in [*earlier, versions()["mujoco"]] if each is not None))


def other_contacts(versions: Mapping[str, Any]) -> str | None:
    """Such as "MuJoCo 3.4.0" where its contacts are not those of the papers' MuJoCo; None where they are."""
    version = str(versions.get("mujoco"))
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    return f"MuJoCo {version}" if numbers >= OTHER_CONTACTS else None
