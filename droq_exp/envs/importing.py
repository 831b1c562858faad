"""What the adapters of foreign suites share: importing a package that may be missing, and naming the nearest task."""

from __future__ import annotations

import difflib
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr

import gymnasium


@contextmanager
def importing(package: str, way: str) -> Iterator[None]:
    """Import ``package`` or parts of it within; ``way`` is the way to it, which the error's one line ends with.

    What such an import does to the process is taken back: log handlers, MuJoCo's warnings, words on displays.

    Raises:
        DependencyNotInstalled: the package, or one that it needs, is missing or cannot be imported.
    """
    import mujoco

    handlers, warned = [*logging.root.handlers], mujoco.get_mju_user_warning()
    try:
        # absl, which dm_control imports, keeps the stderr of the moment, and closes it one day if it is another's.
        with warnings.catch_warnings(), redirect_stderr(sys.__stderr__ or sys.stderr):
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        raise gymnasium.error.DependencyNotInstalled(f"{error.name} is not installed; {way}") from error
    except Exception as error:  # without a library of the system, or with another MuJoCo, it may raise anything
        reason = str(error).partition("\n")[0]
        raise gymnasium.error.DependencyNotInstalled(f"{package} cannot be imported: {reason}; {way}") from error
    finally:
        logging.root.handlers[:] = handlers
        if warned is not None:
            mujoco.set_mju_user_warning(warned)


def register_once(
    id: str, id_of: Callable[[str], str], check: Callable[[str], object], maker: str, argument: str
) -> None:
    """Register the task that ``id`` names, where it is of the form that ``id_of`` gives; any other is left alone.

    Args:
        id: Gymnasium's.
        id_of: gives a name's id.
        check: raises for a name that the suite does not have.
        maker: what makes the task, as ``module:function``.
        argument: as which it takes the name.
    """
    named = re.fullmatch(id_of("(.+)"), id)
    if named is not None and id not in gymnasium.registry:
        check(named[1])
        gymnasium.register(id, entry_point=maker, kwargs={argument: named[1]})


def nearest_task(task: str, known: Iterable[str]) -> str:
    """The one of ``known`` that ``task`` is most like, whatever the case of its letters."""
    by_folded = {each.casefold(): each for each in known}
    return by_folded[difflib.get_close_matches(task.casefold(), by_folded, n=1, cutoff=0)[0]]
