"""What a long run holds: its process's memory at the end, and its checkpoint on disk.

``python -m benchmarks.memory <steps> key=value ...`` trains for ``steps`` environment steps, all but the last
few of them random, saving and evaluating as configured, and prints one line of JSON: a process of its own, since its
memory is what is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.learner import described
from droq_exp.config import Config, compose
from droq_exp.import_path import child_environment
from droq_exp.profiling.process_memory import peak_bytes, resident_bytes
from droq_exp.runs.identity import run_directory
from droq_exp.training import hardware
from droq_exp.training.train import train

LEARNING_STEPS = 20  # at the end, so that whatever updates need is there


def measure_in_process(overrides: Sequence[str], steps: int) -> dict[str, Any]:
    """Measure in another process. Raises RuntimeError, one line, where that fails."""
    command = [sys.executable, "-P", "-m", "benchmarks.memory", str(steps), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise RuntimeError(said[-1] if said else f"its process ended with code {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def benchmark_memory(config: Config, recipe: Config, steps: int) -> dict[str, Any]:
    """Train for ``steps`` environment steps into a directory that is removed, and look at what it took.

    The sizes of files are those of one seed.
    """
    with tempfile.TemporaryDirectory() as directory:
        config = replace(
            config,
            output_dir=directory,
            training=replace(config.training, total_steps=steps, start_steps=max(0, steps - LEARNING_STEPS)),
            eval=replace(config.eval, interval=steps),
            checkpoint=replace(config.checkpoint, keep_replay=True),
        )
        if train(config, recipe) != 0:
            raise RuntimeError("the run failed")
        checkpoint = run_directory(config, recipe, config.seeds[0]) / "checkpoint"
        sizes = {path.name: path.stat().st_size for path in checkpoint.iterdir()}
    machine = hardware.set_up(config)
    return {
        "benchmark": "memory",
        **described(config, machine),
        "steps": steps,
        "resident_mb": _megabytes(resident_bytes()),
        "peak_mb": _megabytes(peak_bytes()),
        "device_peak_mb": _megabytes(None if machine.device == "cpu" else torch.cuda.max_memory_allocated()),
        "replay_file_mb": _megabytes(sizes["replay.bin"]),
        "state_mb": _megabytes(max(size for name, size in sizes.items() if name.startswith("state_"))),
        "weights_mb": _megabytes(sizes["weights.pt"]),
    }


def _megabytes(size: int | None) -> float | None:
    return None if size is None else round(size / 1e6, 2)


if __name__ == "__main__":
    print(json.dumps(benchmark_memory(*compose(sys.argv[2:]), int(sys.argv[1]))))
