"""Faults of a user's own classes: told in one line that names them, before anything is trained on wrong numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from real_runs import LITTLE_BIAS, only_run, rows, runs, status, train

from droq_exp.config import ConfigError, compose

MODULE = """
from dataclasses import dataclass, field
from pathlib import Path
import torch
from droq_exp.callbacks import Stop
from droq_exp.config.rules import Rule, at_least
from droq_exp.config.schema import key
from droq_exp.envs.make import make_env
from droq_exp.learner.losses import SoftPolicyObjective, SquaredTdError
from droq_exp.learner.networks import EnsembleCritic, SquashedGaussianActor
from droq_exp.learner.own_draws import Draw

@dataclass(frozen=True)
class Flat(EnsembleCritic):
    def outputs(self, *given, **named):
        outputs, moved = super().outputs(*given, **named)
        return outputs[..., 0], moved

@dataclass(frozen=True)
class Ghost(EnsembleCritic):
    def outputs(self, *given, **named):
        outputs, moved = super().outputs(*given, **named)
        return outputs, {"ghost": outputs}

@dataclass(frozen=True)
class Single(EnsembleCritic):
    def outputs(self, *given, **named):
        return super().outputs(*given, **named)[0]

@dataclass(frozen=True)
class Wrong(SquaredTdError):
    def target(self, *given):
        return super().target(*given)[:, :1]

@dataclass(frozen=True)
class Turned(SquaredTdError):
    def loss(self, *given):
        return super().loss(*given).transpose(1, 2)

@dataclass(frozen=True)
class Scalar(SoftPolicyObjective):
    def loss(self, *given):
        return super().loss(*given).mean()

@dataclass(frozen=True)
class Luckless(EnsembleCritic):
    def draws(self, rows, spec):
        return {"noise": (rows, 1)}

@dataclass(frozen=True)
class Unknown(EnsembleCritic):
    def draws(self, rows, spec):
        return {"noise": Draw("cauchy", (rows, 1))}

@dataclass(frozen=True)
class Deaf(SquaredTdError):
    def draws(self, rows, spec):
        return {"noise": Draw("normal", (rows,))}

@dataclass(frozen=True)
class Rowless(SquashedGaussianActor):
    def draws(self, rows, spec):
        return {"noise": Draw("normal", (1,))}

@dataclass(frozen=True)
class NoTable(SquashedGaussianActor):
    def buffers(self, spec):
        raise RuntimeError("no table")

@dataclass(frozen=True)
class Raises(SquashedGaussianActor):
    def sample(self, *given, **named):
        raise KeyError("nothing here")

@dataclass(frozen=True)
class Leaves(EnsembleCritic):
    def outputs(self, *given, **named):
        raise SystemExit(3)

@dataclass(frozen=True)
class Target(EnsembleCritic):
    _target_: int = 3

@dataclass(frozen=True)
class Reads(EnsembleCritic):
    @property
    def reads(self):
        raise RuntimeError("cannot say")

def ten():
    raise ZeroDivisionError("no default")

@dataclass(frozen=True)
class Factory(EnsembleCritic):
    sizes: list[int] = field(default_factory=ten)

@dataclass(frozen=True)
class BadDefault(EnsembleCritic):
    n: int = key("x", "is no number", at_least(2))

@dataclass(frozen=True)
class BadRule(EnsembleCritic):
    n: int = key(3, "has an odd rule", Rule("anything", lambda value: value.odd))

class StatePath:
    def __init__(self, info): ...
    def log(self, step, metrics): metrics["eval/return_mean"] = 12345.0
    def close(self, state): ...
    def state(self): return {"p": [Path("x")]}

class Attribute:
    state = "a text"
    def __init__(self, info, seed: int = -1):
        if info.seed == seed:
            raise OSError("no room")
    def log(self, step, metrics): metrics.clear()
    def close(self, state): ...

class Says:
    def __init__(self, what: str = "text"):
        self.what = what
    def evaluated(self, step, metrics):
        metrics.clear()
        return {"text": "stop", "yes": True, "none": Stop(None)}[self.what]
    def state(self): return {}
    def load_state(self, state): ...

def maker(name, id, kwargs):
    kwargs = dict(kwargs)
    assert kwargs.pop("reward_scale") == 2.0
    return make_env(name, id, kwargs)
"""
LITTLE = (LITTLE_BIAS, "algo=sac", "env=inverted_pendulum", "training.total_steps=100", "bias.enabled=false")


@pytest.fixture(autouse=True)
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    (tmp_path / "their_faults.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DROQ_EXP_TRUST", "their_faults")


@pytest.mark.parametrize(
    ("part", "name", "words"),
    [
        ("critic", "Flat", r"outputs are \[2, 2, 3\], and must be \[2, 2, 3, 1\] for 2 seeds and 3 transitions"),
        ("critic", "Ghost", r"moved buffers are ghost, and must be none"),
        ("critic", "Single", r"outputs gives Tensor, not a tuple of 2"),
        ("objective", "Wrong", r"targets are \[2, 1\], and must be \[2, 3, \.\.\.\]"),
        ("objective", "Turned", r"loss are \[2, 3, 2\], and must be \[2, 2, 3\]"),
        ("policy_objective", "Scalar", r"loss are \[\], and must be \[2, 3\]"),
        ("critic", "Luckless", r"draws gives {'noise': \(3, 1\)}, and must give a Draw for each name"),
        ("critic", "Unknown", r"fails when tried: ValueError: a draw is normal or uniform, not 'cauchy'"),
        ("objective", "Deaf", r"fails when tried: TypeError: .*unexpected keyword argument 'drawn'"),
        ("actor", "Rowless", r"draws noise of shape \[1\] for 3 transitions, and must begin with these"),
        ("critic", "Leaves", r"fails when tried: ForeignExitError: it called sys.exit\(3\)"),
        ("actor", "NoTable", r"fails when tried: RuntimeError: no table"),
        ("actor", "Raises", r"fails when tried: KeyError: 'nothing here'"),
    ],
)
def test_a_part_that_gives_another_shape_is_refused_before_anything_is_written(
    part: str, name: str, words: str, elsewhere: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"^algo\.{part}\._target_: their_faults\.{name}: {words}") as refusal:
        train(*LITTLE, f"algo.{part}._target_=their_faults.{name}")
    assert "\n" not in str(refusal.value)
    assert not [*elsewhere.iterdir()]


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        ("Target", "algo.critic._target_", "their_faults.Target cannot be a part: "),
        ("Reads", "algo", "reads of Reads names no keys: cannot say"),
        ("Factory", "algo.critic._target_", "their_faults.Factory cannot be a part: no default"),
        ("BadDefault", "algo.critic.n", ".*x"),
        ("BadRule", "algo.critic.n", "3 cannot be judged by its rule: "),
    ],
)
def test_a_class_that_no_part_can_be_of_is_one_line(name: str, key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: {words}") as refusal:
        compose([*LITTLE, f"algo.critic._target_=their_faults.{name}"])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("entry", ["logger.csv", "callbacks.early_stop"])
def test_what_is_this_projects_own_keeps_its_class(entry: str) -> None:
    group, _, name = entry.partition(".")
    words = rf"^{group}\.{name}\._target_: {name} is this project's own; {group}\.<another"
    chosen = ["callbacks=early_stop", "callbacks.early_stop.patience=3"] if group == "callbacks" else []
    with pytest.raises(ConfigError, match=words):
        compose([*LITTLE, *chosen, f"{entry}._target_=their_faults.Attribute"])


def test_a_state_that_no_checkpoint_can_hold_fails_the_seed_and_names_its_logger() -> None:
    assert train(*LITTLE, "logger.x._target_=their_faults.StatePath", "checkpoint.interval=60") == 1
    told = status(only_run())
    assert told["state"] == "failed"
    assert "member.loggers.x.p[0] is a PosixPath, which no checkpoint can hold" in json.dumps(told)
    assert all(float(row["return_mean"]) < 1000 for row in rows(only_run(), "eval"))  # what it did to its metrics


def test_an_attribute_named_state_is_none_to_keep() -> None:
    assert train(*LITTLE, "logger.x._target_=their_faults.Attribute", "checkpoint.interval=60") == 0


@pytest.mark.parametrize(
    ("what", "shown"), [("text", "'stop'"), ("yes", "True"), ("none", "Stop(reason=None, state='stopped')")]
)
def test_a_callback_that_answers_something_else_is_named(what: str, shown: str) -> None:
    assert train(*LITTLE, "callbacks.x._target_=their_faults.Says", f"callbacks.x.what={what}") == 1
    assert f"the callback x answers {shown}, which is neither Stop(<text>) nor None" in json.dumps(status(only_run()))


def test_a_logger_that_cannot_be_made_for_one_seed_ends_that_seed_alone() -> None:
    given = ("logger.x._target_=their_faults.Attribute", "logger.x.seed=1", "seed=[0,1]")
    assert train(*LITTLE, *given) == 1
    assert [status(run)["state"] for run in runs()] == ["finished", "failed"]
    assert "no room" in json.dumps(status(runs()[1]))


def test_a_maker_of_tasks_may_have_arguments_of_its_own() -> None:
    config, _ = compose([*LITTLE, "env._target_=their_faults.maker", "env.kwargs.reward_scale=2.0"])
    assert config.env.kwargs == {"reward_scale": 2.0}
    with pytest.raises(ConfigError, match=r"env\.kwargs: InvertedPendulum-v5 cannot be made with"):
        compose([*LITTLE, "env._target_=their_faults.maker", "env.kwargs.reward_scale=3.0"])
