"""SBX's side of the comparison: a script for the interpreter that has SBX, which imports nothing of this project.

Usage: ``python -P sbx_driver.py <settings as JSON>``. Says in a line of JSON that it is ready (``versions``), then
answers each line ``<what> <count>`` on its input by the seconds that ``count`` environment steps' updates took (what:
``updates``, a number for each), or ``count`` steps of ``SAC.learn`` (what: ``loop``, one number).
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any

NOT_INSTALLED = 3  # exit code


def main(settings: dict[str, Any]) -> None:
    """Build and warm up the agent, then answer until the input ends."""
    if settings["threads"] is not None:  # before jax counts the processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings["threads"]])
    try:
        import gymnasium
        from sbx import SAC
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    env = gymnasium.make(settings["env_id"], disable_env_checker=True, **settings["env_kwargs"])
    model = SAC("MlpPolicy", env, **settings["agent"])
    model.learn(settings["agent"]["learning_starts"] + 10)  # fills the replay and compiles
    answer({"versions": {name: version(name) for name in ("sbx-rl", "jax")}})
    for line in sys.stdin:
        what, count = line.split()
        answer(updates(model, int(count)) if what == "updates" else loop(model, int(count)))


def updates(model: Any, count: int) -> list[float]:
    """Seconds of each of ``count`` environment steps' updates; ``train`` waits for them, since it reads the losses."""
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        model.train(gradient_steps=model.gradient_steps, batch_size=model.batch_size)
        seconds.append(time.perf_counter() - started)
    return seconds


def loop(model: Any, count: int) -> float:
    """Seconds of ``count`` environment steps with their updates."""
    started = time.perf_counter()
    model.learn(count, reset_num_timesteps=False)
    return time.perf_counter() - started


def answer(content: object) -> None:
    """Send a line."""
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
