"""Run directories with logs as training writes them, made up: any number, in any state, at once; and their page."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from droq_exp.config import compose
from droq_exp.report.build import build
from droq_exp.report.data import load
from droq_exp.report.page import write_page
from droq_exp.report.table import Column, Table
from droq_exp.tune.record import About, Trial, write

EVAL = ("return_mean", "return_std", "return_min", "return_max", "length_mean", "bias_mean", "bias_std")
NORMALIZED = ("normalized_bias_mean", "normalized_bias_std")
TRAIN = ("critic_loss", "policy_loss", "temperature_loss", "temperature", "q_mean", "entropy")
EPISODES = ("episodes", "episode_return_mean", "episode_length_mean")
FINISHED: Mapping[str, Any] = {"state": "finished", "ended": "2026-01-01T02:00:00+00:00", "error": None}
EVIL = "</script><script>document.title='taken'</script> & \"quoted\" <img src=x onerror=document.title='taken'> %{x}"
SCORES = Table(
    name="scores",
    title="Scores",
    caption="Made up, <b>plainly</b>.",
    columns=(Column("line"), Column("score", 1), Column("interval")),
    rows=(("b", 1200.0, "[1,100, 1,300]"), ("a", None, "-"), ("c", -3.0, "[-4, 2]"), ("d", 90.0, "[80, 100]")),
)


@cache
def _composed(algo: str, env: str) -> dict[str, Any]:
    config, _ = compose([f"algo={algo}", f"env={env}"])
    return asdict(config)


def configuration(algo: str, env: str) -> dict[str, Any]:
    """As the real command resolves it; the caller may change it."""
    return copy.deepcopy(_composed(algo, env))


def made_run(
    outputs: Path,
    algo: str,
    env: str,
    seed: int,
    *,
    evaluations: int,
    slope: float = 100.0,
    total: int | None = None,
    end: Mapping[str, Any] = FINISHED,
    config: Mapping[str, Any] | None = None,
    differences: Mapping[str, Any] | None = None,
    folder: str | None = None,
) -> Path:
    """A run in ``outputs``/runs/redq whose return at step t is ``slope * t / 1000 + seed`` and its bias -t / 1000.

    It makes 20 updates a step and takes (seed + 1) * 10 seconds for 1,000 steps; other columns count the rows. ``end``
    is what status.json tells of the end.
    """
    directory = outputs / "runs" / "redq" / algo / (folder or env) / f"seed_{seed}"
    directory.mkdir(parents=True)
    at = np.arange(1, evaluations + 1, dtype=float)
    step = (1000 * at).astype(int)
    wall = {"wall_seconds": at * 10 * (seed + 1)}
    returns = {"return_mean": slope * at + seed, "bias_mean": -at}
    others = dict.fromkeys((*EVAL, *NORMALIZED), at)
    pd.DataFrame({"step": step, **others, **returns, **wall}).to_csv(directory / "eval.csv", index=False)
    updates = {"updates": 20_000 * at, "updates_per_second": np.full(evaluations, 200.0)}
    others = dict.fromkeys((*TRAIN, *EPISODES), at)
    pd.DataFrame({"step": step, **others, **updates, **wall}).to_csv(directory / "train.csv", index=False)
    status = {
        "seed": seed,
        "step": 1000 * evaluations,
        "total_steps": total or 1000 * evaluations,
        "versions": {"python": "3.11.7", "torch": "2.13.0", "droq_exp": "0.1.0"},
        "device": "cpu, 1 threads",
        "git_commit": "0123456789abcdef",
        "started": "2026-01-01T00:00:00+00:00",
        **end,
    }
    (directory / "status.json").write_text(json.dumps(status))
    (directory / "train.log").write_text("started\n")
    content = {**(config or configuration("droq", "hopper")), "seed": seed, "differences": differences or {}}
    (directory / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return directory


def write_search(outputs: Path) -> None:
    """What a search leaves: trials of all ends, of a number and a choice."""
    terms = {"algo.dropout_rate": "log(0.0001,0.1)", "algo.hidden_sizes": "choice([256,256],[64])"}
    trials = [
        Trial(number, state, value, step, f"redq/droq/hopper-{number}", reason, dict(zip(terms, values, strict=True)))
        for number, (state, value, step, reason, values) in enumerate(
            [
                ("complete", 1000.0, None, "", ("0.001", "[64]")),
                ("pruned", 500.0, 3000, "at step 3,000", ("0.1", "[256,256]")),
                ("failed", None, None, EVIL, ("0.01", "[256,256]")),
                ("complete", 2000.0, None, "", ("0.0001", "[64]")),
                ("running", None, None, "", ("0.0002", "[64]")),
            ]
        )
    ]
    scales = {"algo.dropout_rate": "log", "algo.hidden_sizes": "choice"}
    importance = {"algo.dropout_rate": 0.75, "algo.hidden_sizes": 0.25}
    about = About("droq-exp tune ...", terms, scales, 2, "mean", "last_tenth", True, importance, f"train {EVIL}")
    (outputs / "search").mkdir()
    write(outputs / "search", about, trials)


def failed(summary: str) -> dict[str, Any]:
    """The end of a run that an exception ended."""
    return {"state": "failed", "ended": "2026-01-01T01:00:00+00:00", "error": {"summary": summary, "traceback": None}}


def named(algo: str, env: str) -> dict[str, Any]:
    """A configuration of any names."""
    config = configuration("droq", "hopper")
    config["algo"]["name"], config["env"]["name"] = algo, env
    return config


def written(*outputs: Path, **options: Any) -> Path:
    """The page of all runs below ``outputs``, compared where they are several, with a table, beside it a figure."""
    sweep = load(outputs, compared=len(outputs) > 1)
    path = outputs[0].parent / "report" / "index.html"
    (path.parent / "figures").mkdir(parents=True)
    (path.parent / "figures" / "return.svg").write_text("<svg/>")
    write_page(sweep, replace(build(sweep), tables={"scores": SCORES}), path, **options)
    return path
