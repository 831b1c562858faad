"""The experiments of ``conf/experiment``: what they expand to, point by point, and where that goes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from droq_exp.config import Config, ConfigError, compose, compose_sweep
from droq_exp.config.files import choices
from droq_exp.launch import main
from droq_exp.runs.identity import run_directory

TASKS = ["hopper", "walker2d", "ant", "humanoid"]
POINTS = {
    "paper_redq": 80,
    "paper_ku": 80,
    "ablations": 100,
    "dropout_sensitivity": 100,
    "layernorm_ensembles": 120,
    "low_utd": 320,
    "generations": 35,
    "smoke": 36,
    "smoke_run": 1,
    "tune_droq": 1,
    "walk_in_the_park": 1,
    "dmc_hard": 35,
    "robopianist": 1,
}
PACKAGES = ("robopianist",)  # that the tests do not install; the experiment has the package's name
SWEEPS = [name for name, points in POINTS.items() if points > 1]


@lru_cache
def _points(*overrides: str) -> list[tuple[Config, Config]]:
    return compose_sweep(overrides)


def _values(points: list[tuple[Config, Config]], *keys: str) -> set[tuple[Any, ...]]:
    found = set()
    for config, _ in points:
        flat = {"algo": config.algo.name, "env": config.env.name, "codebase": config.codebase.name, "seed": config.seed}
        flat |= {"rate": config.algo.dropout_rate, "critics": config.algo.num_critics}
        found.add(tuple(flat[key] for key in keys))
    return found


def test_every_experiment_is_here() -> None:
    assert set(choices("experiment")) == set(POINTS)


@pytest.mark.program
@pytest.mark.parametrize("name", POINTS)
def test_every_point_composes_and_has_a_directory_of_its_own(name: str) -> None:
    if name in PACKAGES:
        pytest.importorskip(name)
    points = _points(f"experiment={name}")
    assert len(points) == POINTS[name]
    directories = Counter(run_directory(config, recipe, config.seed) for config, recipe in points)
    assert set(directories.values()) == {1}
    assert {config.experiment_name for config, _ in points} == {name}


@pytest.mark.program
@pytest.mark.parametrize("codebase", ["redq", "ku"])
def test_the_main_comparison(codebase: str) -> None:
    points = _points(f"experiment=paper_{codebase}")
    expected = {(a, e, s, codebase) for a in ("sac", "redq", "duvn", "droq") for e in TASKS for s in range(5)}
    assert _values(points, "algo", "env", "seed", "codebase") == expected
    assert all(
        config == replace(recipe, seed=config.seed) for config, recipe in points
    )  # the tables', nothing typed again
    rates = {"redq": {0.0001, 0.005, 0.01, 0.1}, "ku": {0.01}}
    assert {rate for algo, rate in _values(points, "algo", "rate") if algo == "droq"} == rates[codebase]


@pytest.mark.program
def test_the_other_studies() -> None:
    ablated = {"droq", "droq_no_dropout", "droq_no_layernorm", "droq_single", "redq"}
    assert _values(_points("experiment=ablations"), "algo") == {(algo,) for algo in ablated}
    rates = {("droq", env, rate) for env in TASKS for rate in (0.0, 0.0001, 0.005, 0.01, 0.1)}
    assert _values(_points("experiment=dropout_sensitivity"), "algo", "env", "rate") == rates
    sizes = {("redq_layernorm", size) for size in (2, 3, 5, 10, 15, 20)}
    assert _values(_points("experiment=layernorm_ensembles"), "algo", "critics") == sizes
    algos = [config.algo for config, _ in _points("experiment=low_utd")]
    few = {(algo.utd_ratio, algo.critic_learning_rate, algo.n_step) for algo in algos}
    assert few == {*product((1, 2, 5, 20), (3e-4, 1e-3), (1, 3))}
    in_both = set(choices("algo")) - {
        "redq_ofe",
        "crossq",
        "crossq_wide",
        "xqc",
        "flashsac",
    }  # refused with codebase=ku
    kinds = {(algo, codebase) for algo in in_both for codebase in ("redq", "ku")}
    assert _values(_points("experiment=smoke"), "algo", "codebase") == kinds


@pytest.mark.program
@pytest.mark.parametrize(
    ("given", "points"),
    [
        (["env=hopper", "seed=0"], 4),
        (["seed=[0,1,2]", "algo=droq"], 4),
        (["env=halfcheetah,hopper", "algo=sac", "seed=7", "algo.gamma=0.9,0.99"], 4),
        (["seed=7", "env=ant", "algo=sac", "codebase=ku"], 1),
    ],
)
def test_the_command_line_wins_over_the_experiment(given: list[str], points: int) -> None:
    assert len(compose_sweep(["experiment=paper_redq", *given])) == points
    assert len(compose_sweep([*given, "experiment=paper_redq"])) == points


def test_a_point_of_a_sweep_is_one_run() -> None:
    """In the directory that it has within the sweep."""
    config, recipe = compose(["experiment=paper_ku", "algo=sac", "env=ant", "seed=3"])
    expected = Path("outputs", "paper_ku", "ku", "sac", "ant", "seed_3")
    assert run_directory(config, recipe, config.seed) == expected


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_refused_as_one_run(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"{name} is a sweep over .*: python launch\.py -m runs it, .*seed=<value> one"
    ) as refusal:
        compose([f"experiment={name}"])
    assert refusal.value.key == "experiment"


def test_only_what_is_missing_of_a_point_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"over env: python launch\.py -m runs it, env=<value> one run of it"):
        compose(["experiment=paper_redq", "seed=[0,1]", "algo=sac"])


@pytest.mark.parametrize("several", ["smoke,paper_redq", "glob(*)"])
def test_several_experiments_that_sweep_are_refused(several: str) -> None:
    with pytest.raises(ConfigError, match="is a sweep itself"):
        compose_sweep([f"experiment={several}"])


def _own(directory: Path, params: str) -> str:
    (directory / "experiment").mkdir()
    (directory / "experiment" / "mine.yaml").write_text(
        f"# @package _global_\nhydra:\n  sweeper:\n    params: {params}\n"
    )
    return f"hydra.searchpath=['file://{directory}']"


@pytest.mark.parametrize(
    ("params", "key", "words"),
    [
        ("{algo: 'sac,drok'}", "algo", "did you mean droq"),
        ("{algo.dropout_rat: '0,1'}", "algo.dropout_rat", "did you mean algo.dropout_rate"),
        ("{algo.gamma: '0.9,2'}", "algo.gamma", "sweep point: .*algo.gamma=2"),
        ("{experiment: 'smoke,smoke'}", "hydra.sweeper.params.experiment", "keys of a run only"),
    ],
)
def test_a_wrong_sweep_of_ones_own_is_refused(params: str, key: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as refusal:
        compose_sweep([_own(tmp_path, params), "experiment=mine"])
    assert refusal.value.key == key


def test_a_sweep_of_ones_own_may_hold_lists_and_single_values(tmp_path: Path) -> None:
    search = _own(tmp_path, "{seed: [0, 1], algo.gamma: 0.9, env.kwargs.frame_skip: '2,3'}")
    points = compose_sweep([search, "experiment=mine"])
    expected = [([0, 1], 0.9, 2), ([0, 1], 0.9, 3)]
    assert [(c.seed, c.algo.gamma, c.env.kwargs["frame_skip"]) for c, _ in points] == expected


@pytest.mark.program
def test_the_program_sweeps_over_the_same_points(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Hydra's own way through the experiment; the training is left out."""
    trained: list[Path] = []

    def train(config: Config, recipe: Config, overrides: object) -> int:
        trained.append(run_directory(config, recipe, config.seed))
        return 0

    monkeypatch.setattr("droq_exp.training.train.train", train)
    for given in (["experiment=paper_redq", "env=hopper", "seed=0"], ["experiment=smoke", "algo=sac"]):
        main(["-m", *given])
        points = compose_sweep(given)
        assert trained == [run_directory(config, recipe, config.seed) for config, recipe in points]
        trained.clear()
