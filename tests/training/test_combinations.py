"""What goes together: each pair is either in a run that is interrupted and ends as if it had not been, or refused."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest
from real_runs import LITTLE_BIAS, ROOT, assert_interruptions_change_nothing, train

from droq_exp.config import ConfigError

pytestmark = pytest.mark.program

PAGE = ROOT / "docs" / "combinations.md"
BASE = ("env=hopper", LITTLE_BIAS, "checkpoint.interval=30", "training.total_steps=96", "algo.utd_ratio=1")
ASKED = {
    "n-step": ("algo.n_step=2",),
    "PER": ("algo.per.enabled=true",),
    "OFE": ("algo=redq_ofe", "algo.num_critics=2", "algo.features.layers=2", "algo.features.pretraining=40"),
    "auto": ("algo.dropout_rate=auto", "algo.auto.rates=[0,0.3]", "algo.auto.hold_out_every=4"),
    "SPEQ": ("training.offline_every=30", "training.offline_updates=40"),
    "batch norms": ("algo=crossq", "algo.hidden_sizes=[16,16]"),
    "several seeds": ("seed=[0,1]",),
    "C++": ("hardware.updates=native",),
}
TOGETHER = [  # each pair within a line goes together
    ("n-step", "PER", "SPEQ", "batch norms", "several seeds"),
    ("OFE", "SPEQ", "several seeds"),
    ("n-step", "auto", "several seeds", "C++"),
    ("n-step", "SPEQ", "several seeds", "C++"),
]
APART = {  # and the key of the line that says so
    ("n-step", "OFE"): "algo.n_step",
    ("PER", "OFE"): "algo.per.enabled",
    ("PER", "auto"): "algo.dropout_rate",
    ("PER", "C++"): "hardware.updates",
    ("OFE", "auto"): "algo.dropout_rate",
    ("OFE", "C++"): "hardware.updates",
    ("auto", "SPEQ"): "algo.dropout_rate",
    ("batch norms", "C++"): "hardware.updates",
}
# Two choices of algo at once, or a dropout rate for networks that drop nothing.
ALGORITHMS = {
    ("OFE", "batch norms"): (("algo=crossq", "algo.features._target_=droq_exp.learner.ofe.OFENet"), "algo.joint_pass"),
    ("auto", "batch norms"): (("algo=crossq", *ASKED["auto"]), "algo."),
}


def command(names: tuple[str, ...]) -> list[str]:
    """An algorithm goes before its keys."""
    asked = [line for name in names for line in ASKED[name]]
    return [*BASE, *sorted(asked, key=lambda line: not line.startswith("algo="))]


def test_every_pair_is_told_and_tested() -> None:
    """On the page as here; of CUDA graphs, which ``tests/agent/test_cuda_graphs.py`` has, on the page alone."""
    yes = {frozenset(pair) for names in TOGETHER for pair in combinations(names, 2)}
    no = {frozenset(pair) for pair in (*APART, *ALGORITHMS)}
    assert not yes & no
    assert yes | no == {frozenset(pair) for pair in combinations(ASKED, 2)}
    head, *lines = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = {frozenset((line[0], name)): cell for line in lines for name, cell in zip(head, line[1:], strict=True)}
    for pair in yes | no:
        assert cells[pair].startswith("yes" if pair in yes else "no"), pair
    assert all(re.match(r"yes|no|-", cell) for cell in cells.values())


@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_what_goes_together_ends_as_if_it_had_not_been_interrupted(
    names: tuple[str, ...], elsewhere: Path, tmp_path: Path
) -> None:
    # Beside a phase and an update, and in mid-episode.
    assert_interruptions_change_nothing(tmp_path / "whole", command(names), 57, 71)


@pytest.mark.parametrize("pair", APART, ids="+".join)
def test_what_does_not_is_refused_in_one_line(pair: tuple[str, str], elsewhere: Path) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]+$") as refusal:
        train(*command(pair))
    assert refusal.value.key == APART[pair]
    assert not [*elsewhere.iterdir()]


@pytest.mark.parametrize("pair", ALGORITHMS, ids="+".join)
def test_what_algorithms_do_not_take_is_refused_in_one_line(pair: tuple[str, str], elsewhere: Path) -> None:
    given, key = ALGORITHMS[pair]
    with pytest.raises(ConfigError, match=r"^[^\n]+$") as refusal:
        train(*BASE, *given)
    assert refusal.value.key.startswith(key)
