"""Where Python looks for modules: in this process, in those that it starts, and in jobs.

A training command looks in the working directory too, behind everything else: a user's own parts are found there, and
nothing there takes the place of what is installed. A command that reads does not. Other processes of this program are
started with ``-P``, so that Python itself adds no directory; what they are to have is said here alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import droq_exp

_own: list[str] = []  # directories of a user's own parts, as ``looking_in`` has them on this process's path


@contextmanager
def looking_in(directories: Iterable[str]) -> Iterator[None]:
    """Find a user's own modules in ``directories`` too, within the block."""
    added = [directory for directory in map(os.path.abspath, directories) if directory not in _own]
    first = _taken_from_the_front(added)
    _settle_plugins()
    sys.path.extend(added)
    _own.extend(added)
    try:
        yield
    finally:
        for directory in added:
            _own.remove(directory)
            if directory in sys.path:
                del sys.path[_last(sys.path, directory)]
        sys.path[:0] = first


def own_places() -> list[str]:
    """The directories of a user's own parts, for a job that is to find them as this process does."""
    return list(_own)


def places_for_jobs() -> list[str]:
    """Where a job is to look for a user's own parts: in ``own_places``, and where else this process looks and it not.

    A notebook or a script of the user's may have put a directory on the path; PYTHONPATH is inherited.
    """
    roots = [str(package_root()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    others = {os.path.abspath(root) for root in roots} | {os.path.abspath(place) for place in _own}
    installed = tuple(f"{os.path.abspath(prefix)}{os.sep}" for prefix in {sys.prefix, sys.base_prefix})
    added = [os.path.abspath(entry) for entry in sys.path if entry and os.path.isdir(entry)]
    return [
        *own_places(),
        *(each for each in added if each not in others and not f"{each}{os.sep}".startswith(installed)),
    ]


def package_root() -> Path | None:
    """Directory to put on the search path of another process that is to find this package; None: it is installed."""
    root = Path(droq_exp.__file__).resolve().parent.parent
    return None if root.name in ("site-packages", "dist-packages") else root


def child_environment() -> dict[str, str]:
    """Variables for another process of this program: it finds this package, installed or not, and trusts the same."""
    from droq_exp.config.targets import VARIABLE, trusted  # imports Hydra: see ``_taken_from_the_front``

    variables = dict(os.environ)
    if names := trusted():
        variables[VARIABLE] = ",".join(names)
    if (root := package_root()) is not None:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return variables


def _taken_from_the_front(directories: list[str]) -> list[str]:
    """Take off the working directory that ``python -m`` put before everything: all ways to start a training are alike.

    That comes before anything but Python's own modules is imported. A checkout's directory stays, as with ``python
    launch.py``: its own modules are not to be found elsewhere first.
    """
    front = sys.path[:1]
    place = os.path.abspath(front[0]) if front else None
    if sys.flags.safe_path or place not in directories or place == str(package_root()):
        return []
    del sys.path[0]
    return front


def _settle_plugins() -> None:
    """Let Hydra's plugins be those that are installed: it would import whatever a ``hydra_plugins`` further on holds.

    Python looks for the parts of such a package anew whenever the path changes, unless they are a plain list.
    """
    import hydra_plugins

    hydra_plugins.__path__ = list(hydra_plugins.__path__)


def _last(entries: list[str], entry: str) -> int:
    return len(entries) - 1 - entries[::-1].index(entry)
