"""Whose value counts: command line > experiment > env > algo > codebase > the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from droq_exp.config import ConfigError, compose
from droq_exp.config.algorithms import PURPOSES, algorithms
from droq_exp.launch import main
from droq_exp.launch.arguments import with_config_dir

GLOBAL = "# @package _global_\n"
TWO_CRITICS = "num_critics: 2, num_min: 2, dropout_rate: 0.0, layer_norm: true"
FILES = {  # weakest first; eval.episodes is what all contend for
    "algo/mine": f"algo: {{name: mine, {TWO_CRITICS}, target_entropy_per_dim: -0.5}}\n"
    "eval: {episodes: 3}\ntraining: {start_steps: 1003}\n",
    "env/mine": "env: {name: mine, id: InvertedPendulum-v5}\neval: {episodes: 4}\n",
    "experiment/mine": "eval: {episodes: 5}\n",
}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(GLOBAL + content)
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "episodes", "start_steps"),
    [
        ([], 1, 5000),
        (["algo=mine"], 3, 1003),
        (["env=mine", "algo=mine"], 4, 1003),
        (["algo=mine", "experiment=mine", "env=mine"], 5, 1003),
        (["eval.episodes=6", "experiment=mine", "algo=mine"], 6, 1003),
        (["algo=mine", "training.start_steps=7"], 3, 7),
    ],
)
def test_the_stronger_choice_counts(mine: Path, overrides: list[str], episodes: int, start_steps: int) -> None:
    config, _ = compose(with_config_dir(overrides, mine))
    assert (config.eval.episodes, config.training.start_steps) == (episodes, start_steps)


def test_an_algorithm_goes_before_a_code_base(mine: Path) -> None:
    alone, _ = compose(with_config_dir(["codebase=ku"], mine))
    assert alone.eval.episodes == 10  # the code base's own number
    config, _ = compose(with_config_dir(["algo=mine", "codebase=ku"], mine))
    assert config.eval.episodes == 3


def test_a_typed_target_entropy_goes_before_an_algorithms(mine: Path) -> None:
    by_file, _ = compose(with_config_dir(["algo=mine", "env=hopper"], mine))
    assert by_file.algo.target_entropy == -1.5  # 3 actions
    typed, recipe = compose(with_config_dir(["algo=mine", "env=hopper", "algo.target_entropy=-7"], mine))
    assert (typed.algo.target_entropy, typed.algo.target_entropy_per_dim) == (-7, None)
    assert recipe.algo.target_entropy == -1.5
    by_typed, _ = compose(["env=walker2d", "algo.target_entropy_per_dim=-0.25"])
    assert by_typed.algo.target_entropy == -1.5  # 6 actions; the table has -3
    with pytest.raises(ConfigError, match=r"^algo\.target_entropy: .*algo\.target_entropy_per_dim.* one of them"):
        compose(["algo.target_entropy=-1", "algo.target_entropy_per_dim=-1"])


def test_each_algorithm_of_this_project_says_what_it_is_for_and_costs() -> None:
    for algorithm in algorithms():
        assert algorithm.purpose in PURPOSES, algorithm.name
        assert algorithm.cost is not None
        assert float(algorithm.cost) > 0


def test_help_says_what_each_algorithm_is_for(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mine / "algo/mine.yaml").write_text(
        f"{GLOBAL}# Mine (me 2026): nothing is like it.\n# For little computing; costs 2.5 times SAC at UTD 1.\n"
        + FILES["algo/mine"]
    )
    (mine / "algo/silent.yaml").write_text("# Says little.\nname: silent\n")
    main(["--help", "--config-dir", str(mine)])
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("  for little computing")
    cheap = lines[start : next(i for i in range(start + 1, len(lines)) if lines[i].startswith("  for "))]
    assert any(line.split(maxsplit=1) == ["mine", "Mine (me 2026): nothing is like it. [2.5]"] for line in cheap)
    assert any(line.split()[0] == "crossq" for line in cheap)
    assert any(line.split() == ["silent", "Says", "little."] for line in lines)
