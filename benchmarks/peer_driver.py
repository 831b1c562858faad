"""A peer's side of the comparison: a script for the interpreter that has the peer, which imports nothing of ours.

Usage: ``python -P peer_driver.py <settings as JSON>``. The peer trains as its users have it train. Its environment
beats time: at the first environment step that is to be timed it says in a line of JSON that it is ready (``versions``),
then answers each line ``<count>`` on its input by the seconds that ``count`` environment steps took, with all that the
peer does in between. At the end of its input it ends.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

NOT_INSTALLED = 3  # exit code
ENDLESS = 10**9  # steps


def main(settings: dict[str, Any]) -> None:
    """Train until the input ends."""
    if settings["threads"] is not None:  # before anything counts the processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings["threads"]])
    try:
        import gymnasium
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_INSTALLED)

    class Metronome(gymnasium.Wrapper):
        """Stands still at the beginning of a step until it is asked for more of them."""

        made = 0
        left: int | None = None  # steps of what was asked for
        started = 0.0

        def step(self, action: Any) -> Any:
            self.made += 1
            if self.made > settings["untimed_steps"]:
                if self.left is None:
                    answer({"versions": versions(settings["packages"])})
                elif self.left == 0:
                    answer(time.perf_counter() - self.started)
                if not self.left:
                    self.left = int(sys.stdin.readline() or sys.exit())
                    self.started = time.perf_counter()
                self.left -= 1
            return super().step(action)

    make = gymnasium.make

    def beating(env_id: str, **options: Any) -> Any:
        return Metronome(make(env_id, disable_env_checker=True, **settings["env_kwargs"], **options))

    try:
        if "script" in settings:
            gymnasium.make = beating  # type: ignore[assignment]
            sys.path.insert(0, str(Path(settings["script"]).parents[1]))
            sys.argv = [settings["script"], *settings["arguments"]]
            sys.stdout = sys.stderr  # what it prints is no answer
            runpy.run_path(settings["script"], run_name="__main__")
        else:
            module = __import__(settings["module"])
            env = beating(settings["env_id"])
            getattr(module, settings["class"])("MlpPolicy", env, **settings["agent"]).learn(ENDLESS)
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_INSTALLED)


def versions(packages: list[str]) -> dict[str, str]:
    """Those of ``packages`` that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # it is a checkout
            continue
    return found


def answer(content: object) -> None:
    """Send a line."""
    print(json.dumps(content), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
