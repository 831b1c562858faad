"""Write ``constraints.txt``: the versions installed here of all that this project and its tests need.

Run it in an environment whose tests have passed: ``python scripts/write_constraints.py``.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "constraints.txt"
EXTRAS = ("test", "dmc", "robotics", "box2d", "workspace", "export")
HEAD = """\
# The versions that this project is tested with: pip install -c constraints.txt -e .
# Written by scripts/write_constraints.py.
"""


def main() -> None:
    """Write the file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    asked = [*project["dependencies"], *(line for extra in EXTRAS for line in optional[extra])]
    versions = closure([Requirement(line) for line in asked])
    lines = [f"{name}=={version.partition('+')[0]}\n" for name, version in sorted(versions.items())]
    FILE.write_text(HEAD + "".join(lines), encoding="utf-8")
    print(f"wrote {FILE}: {len(lines)} packages")


def closure(asked: list[Requirement]) -> dict[str, str]:
    """Versions of all that is installed of what is ``asked`` for, and of what that needs in turn."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    while asked:
        requirement = asked.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {extra for each, extra in seen if each == name}:
            seen.add((name, extra))
            try:
                found = distribution(name)
            except PackageNotFoundError:  # of another system, or of a build of torch that is not the one here
                continue
            versions[name] = found.version
            needed = [Requirement(line) for line in found.requires or []]
            asked += [each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})]
    return versions


if __name__ == "__main__":
    main()
