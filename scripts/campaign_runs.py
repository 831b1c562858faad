"""The runs of the campaigns, and whether two of them have the same results."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
TIMING = {"updates_per_second", *(f"{name}_seconds" for name in ("env", "sample", "update", "evaluate", "wall"))}
INTERVAL = 100  # environment steps between two evaluations; checkpoints come twice as often
SMALL = (
    *("hardware=cpu", "hardware.threads=1", "hardware.updates=native", "bias.enabled=true", "training.start_steps=200"),
    *(f"eval.interval={INTERVAL}", "eval.episodes=2", f"checkpoint.interval={INTERVAL // 2}", "algo.utd_ratio=4"),
    *("algo.hidden_sizes=[128,128]", "algo.batch_size=128"),  # a launch is mostly start-up then
)
# Of the code base redq: a policy update per environment step, and fewer pairs for a bias estimate.
SMALL_REDQ = ("codebase.policy_update_delay=4", "bias.min_pairs=200")


@dataclass(frozen=True)
class Case:
    """A run to be disturbed; ``name`` is what ``--cases`` looks at."""

    algorithm: str
    codebase: str
    task: str
    seed: str = "0"

    @property
    def seeds(self) -> int:
        """How many are trained side by side."""
        return self.seed.count(",") + 1

    @property
    def name(self) -> str:
        """Such as ``droq-ku-ant`` or ``droq-redq-hopper-pack``."""
        return "-".join([self.algorithm, self.codebase, self.task, *(["pack"] if self.seeds > 1 else [])])

    def overrides(self, steps: int, output: Path) -> list[str]:
        """What to say to launch.py for ``steps`` environment steps, with results below ``output``."""
        chosen = [f"algo={self.algorithm}", f"codebase={self.codebase}", f"env={self.task}", f"seed={self.seed}"]
        small = [*SMALL, *(SMALL_REDQ if self.codebase == "redq" else ())]
        return [*chosen, *small, f"training.total_steps={steps}", f"output_dir={output}"]

    def sweep(self, steps: int, output: Path) -> list[str]:
        """The same as jobs of a sweep, with a run of one seed more."""
        other = {"hardware=cpu": "hardware=cpu_parallel", f"seed={self.seed}": f"seed={self.seed},7"}
        return [*(other.get(line, line) for line in self.overrides(steps, output)), "hardware.poll_seconds=0.2"]


CASES = [
    *(
        Case(algorithm, codebase, task)
        for algorithm in ("sac", "droq", "redq")
        for codebase in ("redq", "ku")
        for task in ("hopper", "ant", "humanoid")
    ),
    Case("droq", "redq", "hopper", seed="[0,1,2]"),
]


def find_runs(directory: Path) -> list[Path]:
    """Directories of all seeds below ``directory`` that have been opened once, by name."""
    return sorted(path.parent for path in directory.glob("*/*/*/*/seed_*/status.json"))


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; none where there is no file."""
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def compare(first: Path, second: Path) -> list[str]:
    """Differences between two run directories that should have the same results, a line each."""
    found = []
    state = json.loads((second / "status.json").read_text())["state"] if second.is_dir() else "missing"
    if state != "finished":
        return [f"{second}: {state}"]
    for name in ("train.csv", "eval.csv"):
        ours, theirs = untimed(first / name), untimed(second / name)
        if ours != theirs or not ours:
            same = sum(one == other for one, other in zip(ours, theirs, strict=False))
            found.append(f"{second / name}: {same} of {len(ours)} rows are the same, {len(theirs)} there")
    a, b = tensors(first), tensors(second)
    different = [key for key in sorted({*a, *b}) if a.get(key) != b.get(key)]
    if different:
        found.append(f"{second / 'checkpoint' / 'weights.pt'}: {', '.join(different)}")
    return found


def untimed(path: Path) -> list[list[tuple[str, str]]]:
    """Rows of a CSV file as text, without the columns that measure time."""
    return [[pair for pair in row.items() if pair[0] not in TIMING] for row in rows(path)]


def tensors(run: Path) -> dict[str, tuple[Any, ...]]:
    """Content of ``weights.pt`` to the bit: type, shape and bytes by name."""
    content = torch.load(run / "checkpoint" / "weights.pt", weights_only=True)
    found: dict[str, tuple[Any, ...]] = {}
    for key, value in content.items():
        tensor = torch.as_tensor(value).contiguous()
        found[key] = (tensor.dtype, tensor.shape, tensor.numpy().tobytes())
    return found
