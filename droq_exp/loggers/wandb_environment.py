"""The variables that wandb reads when it starts: none of them may stop it, or say something else than the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# What the run's configuration says, or the logger.
OURS = {
    f"WANDB_{name}"
    for name in ("MODE", "PROJECT", "TAGS", "NAME", "RUN_GROUP", "RUN_ID", "RESUME", "RESUME_FROM", "FORK_FROM", "DIR")
}


@contextmanager
def suitable_environment(warn: Callable[[str, Exception], None]) -> Iterator[None]:
    """Within the block leave out ``OURS``, and what wandb would refuse, each of which ``warn`` is told of."""
    import wandb

    given = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    for name, value in given.items():
        if name in OURS:
            del os.environ[name]
            continue
        try:
            wandb.Settings().update_from_env_vars({name: value})
        except Exception as error:
            del os.environ[name]
            warn(f"the variable {name} is left out, since wandb does not take its value", error)
    try:
        yield
    finally:
        os.environ.update(given)
