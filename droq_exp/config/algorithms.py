"""What each algorithm is for and what it costs, from the comment that its file begins with.

The comment's last sentence is ``For <purpose>; costs <factor> times SAC at UTD 1.``; what stands before it says paper,
year and what the algorithm changes. A user's own file need not have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from droq_exp.config.files import choices, conf_directory

PURPOSES = ("few environment steps", "little computing", "comparison")
UNSAID = "a purpose that their files do not name"
_LAST = re.compile(r"\s*For (?P<purpose>[^;.]+); costs (?P<cost>.+?) times SAC at UTD 1\.$")


class Algorithm(NamedTuple):
    """A choice of ``algo`` as its file describes it."""

    name: str
    meaning: str  # paper, year and what it changes
    purpose: str
    cost: str | None  # of an environment step's updates, relative to SAC at UTD 1; None: not said


def algorithms(directories: Iterable[Path] = ()) -> list[Algorithm]:
    """The choices of ``algo`` in ``conf/`` and in further configuration ``directories``, sorted by name."""
    roots = [*directories, conf_directory()]
    return [_described(name, roots) for name in choices("algo", roots)]


def by_purpose(described: Iterable[Algorithm]) -> dict[str, list[Algorithm]]:
    """Group algorithms by what they are for, those that do not say at the end."""
    groups: dict[str, list[Algorithm]] = {purpose: [] for purpose in PURPOSES}
    for each in described:
        groups.setdefault(each.purpose, []).append(each)
    groups[UNSAID] = groups.pop(UNSAID, [])
    return {purpose: members for purpose, members in groups.items() if members}


def _described(name: str, roots: Iterable[Path]) -> Algorithm:
    file = next(path for root in roots if (path := root / "algo" / f"{name}.yaml").is_file())
    comment = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            comment.append(line.lstrip("# ").rstrip())
    text = " ".join(comment)
    last = _LAST.search(text)
    if last is None:
        return Algorithm(name, text, UNSAID, None)
    return Algorithm(name, text[: last.start()], last["purpose"], last["cost"])
