"""Reading a real run back: the same policy as in training, and files that are not what they should be."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from real_runs import LITTLE_BIAS, rows, train_in

from droq_exp.config import ConfigError
from droq_exp.evaluation.load import load
from droq_exp.evaluation.returns import evaluate, measure
from droq_exp.random_streams import Stream, derived_seed
from droq_exp.runs.checkpoint import CheckpointError


@pytest.fixture(scope="module", params=["redq", "ku"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bias = [LITTLE_BIAS] if request.param == "redq" else []
    directory = tmp_path_factory.mktemp(request.param) / "here"
    return train_in(directory, "env=walker2d", f"codebase={request.param}", "seed=3", *bias)[0]


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_the_policy_is_the_one_that_was_evaluated_last(run: Path) -> None:
    _assert_evaluated_last(run)


@pytest.mark.program
@pytest.mark.parametrize("algo", ["crossq", "flashsac"])
def test_running_statistics_are_part_of_a_policy(algo: str, tmp_path: Path) -> None:
    directory = tmp_path / "here"
    small = ("algo.hidden_sizes=[16]", "algo.actor_hidden_sizes=[16]", "training.start_steps=5")
    (run,) = train_in(directory, f"algo={algo}", "env=walker2d", "seed=3", LITTLE_BIAS, *small)
    _assert_evaluated_last(run)
    agent = load(run).agent
    if algo == "crossq":
        assert agent.state.actor_buffers[0, 0] == 63  # "passes": every third of 190 updates
    else:
        assert agent.weights_of(0)["reward_scale"] == float(rows(run, "train")[-1]["reward_scale"])


def _assert_evaluated_last(run: Path) -> None:
    trained = load(run)
    last = rows(run, "eval")[-1]
    assert trained.step == int(last["step"]) == 100
    seeds = [derived_seed(3, Stream.EVALUATION_ENV, 100, at) for at in range(trained.config.eval.episodes)]
    result = measure(trained.agent, {0: evaluate([trained.make_env(), trained.make_env()], seeds)})[0]
    assert not isinstance(result, Exception)
    told, _ = result
    assert {name: repr(value) for name, value in told.items()} == {name: last[name] for name in told}


def test_episodes_follow_from_their_seed_alone(run: Path) -> None:
    trained = load(run)
    envs = [trained.make_env() for _ in range(2)]
    for stochastic in (False, True):
        first = list(trained.episodes(envs, 3, 5, stochastic=stochastic))
        again = list(islice(load(run).episodes(envs[:1], 9, 5, stochastic=stochastic), 3))
        other = next(trained.episodes(envs, 1, 6, stochastic=stochastic))
        for one, same in zip(first, again, strict=True):
            np.testing.assert_array_equal(one.obs, same.obs)
            np.testing.assert_array_equal(one.action, same.action)
        assert len({episode.obs[0].tobytes() for episode in (*first, other)}) == 4
        assert np.isfinite(first[0].log_prob).all() == stochastic


def test_nothing_is_written(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    trained = load(run)
    next(trained.episodes([trained.make_env()], 1, 0))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


class Malicious:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return os.unlink, (self.victim,)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_weights_file_cannot_run_code(copy: Path, tmp_path: Path, form: str) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    weights = copy / "checkpoint" / "weights.pt"
    content = torch.load(weights, weights_only=True) | {"more": Malicious(victim)}
    if form == "torch":
        torch.save(content, weights)
    else:
        weights.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError, match="not only weights"):
        load(copy)
    assert victim.exists()
    torch.load(weights, weights_only=False) if form == "torch" else pickle.loads(weights.read_bytes())
    assert not victim.exists()  # it was armed


def test_weights_that_are_missing_damaged_or_of_another_shape(copy: Path) -> None:
    weights = copy / "checkpoint" / "weights.pt"
    whole = weights.read_bytes()
    content = torch.load(weights, weights_only=True)
    for damaged in (b"", b"not a checkpoint", whole[: len(whole) // 2], whole[:-100]):
        weights.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="is damaged") as told:
            load(copy)
        assert "\n" not in str(told.value)
    tensor = whole.index(content["actor"].numpy().tobytes())
    for bit in (8 * tensor, 8 * tensor + 22, 8 * (whole.index(b"actor") + 1)):  # whose files torch.load accepts
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        weights.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"is damaged.*: a checksum differs, of .*/data"):
            load(copy)
    # Marked as a directory in the archive's table: torch would read whatever the memory holds.
    entry = whole.index(b"PK\x01\x02", whole.rindex(b"/data/0") - 1000)
    flipped = bytearray(whole)
    flipped[entry + 38] ^= 0x10
    weights.write_bytes(flipped)
    with pytest.raises(CheckpointError, match=r"is damaged"):
        load(copy)
    torch.save({**content, "actor": content["actor"] + 1}, weights)  # whole, and another's
    with pytest.raises(CheckpointError, match=r"changed since the run was done"):
        load(copy)
    status = copy / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"results": None}))  # as before there were checksums
    weights.write_bytes(flipped)
    with pytest.raises(CheckpointError, match=r"is damaged"):
        load(copy)
    for wrong in ({"actor": content["actor"][:-1]}, {"critic": 0}, {"log_alpha": torch.zeros(2, 1)}):
        torch.save(content | wrong, weights)
        with pytest.raises(CheckpointError, match=f"does not fit the run's config.yaml: {next(iter(wrong))}"):
            load(copy)
    for nameless in ([], {"step": "100"}, torch.zeros(3)):
        torch.save(nameless, weights)
        with pytest.raises(CheckpointError, match="has no step"):
            load(copy)
    weights.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load(copy)


def _change(copy: Path, group: str, **values: object) -> None:
    path = copy / "config.yaml"
    content = yaml.safe_load(path.read_text())
    content[group] |= values
    content["identity"] |= {f"{group}.{key}": value for key, value in values.items()}
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("group", "key", "value", "words"),
    [
        ("env", "id", "Walker2d-v55", "env.id: .*did you mean Walker2d-v5"),
        ("env", "id", "no_such_package:Task-v0", "env.id: no_such_package:Task-v0 imports no_such_package; --trust"),
        ("env", "_target_", "os.system", "env._target_: os.system is not one of this project"),
        ("algo", "gama", 1, "algo.gama: unknown key.*did you mean algo.gamma"),
    ],
)
def test_a_configuration_that_cannot_be_had_here(copy: Path, group: str, key: str, value: object, words: str) -> None:
    _change(copy, group, **{key: value})
    with pytest.raises(ConfigError, match=words):
        load(copy)


@pytest.mark.parametrize("value", ["99", "0", "-1", "true", "3.0", "[3]", "null"])
def test_a_format_of_another_version_is_refused(copy: Path, value: str) -> None:
    path = copy / "config.yaml"
    text = path.read_text()
    assert "\nformat: " in text
    path.write_text(re.sub(r"\nformat: .*\n", f"\nformat: {value}\n", text))
    with pytest.raises(ConfigError, match=r"config\.yaml: it has format .* and this version of droq-exp knows those"):
        load(copy)


def test_a_task_whose_observation_has_another_order_is_refused(copy: Path) -> None:
    path = copy / "config.yaml"
    content = yaml.safe_load(path.read_text())
    assert [name for name, _ in content["observation"]] == ["observation"]
    path.write_text(yaml.safe_dump(content | {"observation": [["b", 2], ["a", 2]]}, sort_keys=False))
    with pytest.raises(ConfigError, match=r"config\.yaml: the parts of an observation are .* there and .* here"):
        load(copy)


def test_a_value_that_is_not_the_identitys_is_damage(copy: Path) -> None:
    path = copy / "config.yaml"
    text = path.read_text()
    assert "\n  gamma: 0.99\n" in text
    path.write_text(text.replace("\n  gamma: 0.99\n", "\n  gamma: 0.98\n"))
    with pytest.raises(ConfigError, match=r"config\.yaml: is damaged: algo\.gamma differs from what its identity says"):
        load(copy)


def test_what_one_run_is_trusted_with_no_other_is(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register = "import gymnasium\ngymnasium.register('Walk-v0', gymnasium.spec('Walker2d-v5').entry_point)\n"
    (tmp_path / "my_walks.py").write_text(register)
    monkeypatch.syspath_prepend(tmp_path)
    _change(copy, "env", id="my_walks:Walk-v0", name="gym")
    refusal = "env.id: my_walks:Walk-v0 imports my_walks; --trust my_walks"
    try:
        with ThreadPoolExecutor() as threads:
            first, second, third = (threads.submit(load, copy, trust) for trust in ([], ["my_walks"], ["another"]))
            for refused in (first, third):
                with pytest.raises(ConfigError, match=refusal):
                    refused.result()
            trained = second.result()
        trained.make_env().close()
        with pytest.raises(ConfigError, match=refusal):
            load(copy)
    finally:
        gymnasium.registry.pop("Walk-v0", None)
        sys.modules.pop("my_walks", None)


def test_a_directory_without_a_configuration(copy: Path) -> None:
    for text in ("]", "just words", "\x00", "algo: 1"):
        (copy / "config.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"config\.yaml: is (damaged|not)"):
            load(copy)
    (copy / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"config\.yaml: is missing"):
        load(copy)


def test_where_it_was_trained_does_not_matter(copy: Path) -> None:
    _change(copy, "hardware", device="cuda:7", launcher="slurm", partition="gone")
    _change(copy, "logger", wandb={"mode": "online"})
    assert load(copy).step == 100


def test_what_it_logged_to_and_what_watched_it_is_not_built(copy: Path) -> None:
    content = yaml.safe_load((copy / "config.yaml").read_text())
    for group in ("logger", "callbacks"):
        content[group]["theirs"] = {"_target_": "not_here.Theirs"}
    (copy / "config.yaml").write_text(yaml.safe_dump(content))
    assert load(copy).config.callbacks == {}
