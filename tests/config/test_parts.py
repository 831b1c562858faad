"""Parts of an algorithm from a package of the user's own: their keys, and what is refused in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from real_runs import only_run, rows, train

from droq_exp.config import ConfigError, compose, compose_sweep, own_parts
from droq_exp.config.targets import trusting
from droq_exp.learner.orders import PolicyAfterCritics, PolicyBehindCritics, PolicyBesideCritics
from droq_exp.runs.code import code_of
from droq_exp.runs.identity import differences, identity, run_directory
from droq_exp.training.hardware import learner_spec

MODULE = """
from dataclasses import dataclass
from droq_exp.codebases import RedqCodebase
from droq_exp.config.rules import at_least
from droq_exp.config.schema import key
from droq_exp.learner.losses import SquaredTdError
from droq_exp.learner.networks import EnsembleCritic, SquashedGaussianActor
from droq_exp.learner.orders import PolicyAfterCritics
from droq_exp.learner.programs import CriticUpdates, Program

@dataclass(frozen=True)
class Wide(EnsembleCritic):
    width: int = key(3, "output units", at_least(2))
    sizes: list[int] = key([1, 2], "any")
    scale: float | None = None

@dataclass(frozen=True)
class MustBeGiven(SquaredTdError):
    power: float

@dataclass(frozen=True)
class Other(MustBeGiven):
    pass

@dataclass(frozen=True)
class Blind(SquashedGaussianActor):
    reads = ("hidden_sizes",)

@dataclass(frozen=True)
class Silent:
    buffers = shapes = initial = sample = lambda self, *given: None

@dataclass
class NotFrozen:
    pass

@dataclass(frozen=True)
class Half:
    def value(self, outputs): ...

@dataclass(frozen=True)
class Odd(SquaredTdError):
    inner: dict[int, str] = key({}, "no key can give it")

@dataclass(frozen=True)
class Unbuilt(RedqCodebase):
    def __post_init__(self):
        raise ValueError("no such\\nhouse")

@dataclass(frozen=True)
class Unordered(RedqCodebase):
    @property
    def order(self):
        raise SystemExit("gone")

@dataclass(frozen=True)
class Bare:
    name: str
    policy_update_delay: int
    first_alpha: float | None
    order = PolicyAfterCritics()

@dataclass(frozen=True)
class Order:
    how: str = "never the policy"

    def __post_init__(self):
        if self.how == "badly made":
            raise ValueError("how is odd")

    def programs(self, utd_ratio):
        if self.how == "raise":
            raise IndexError("out of ideas")
        if self.how == "leave":
            raise SystemExit(0)
        return (Program([CriticUpdates(0, utd_ratio + (self.how == "too many"))]),)
"""
WIDE = "algo.critic._target_=my_module.Wide"


@pytest.fixture(autouse=True)
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DROQ_EXP_TRUST", "my_module")


def test_keys_of_a_part_have_defaults_types_and_rules() -> None:
    config, _ = compose([WIDE, "algo.critic.width=4"])
    critic = config.algo.critic
    assert (critic._target_, critic.width, critic.sizes, critic.scale) == ("my_module.Wide", 4, [1, 2], None)
    config, _ = compose(["algo.critic={_target_: my_module.Wide, width: 5, scale: 2}"])
    assert (config.algo.critic.width, config.algo.critic.scale) == (5, 2.0)


OBJECTIVE = "algo.objective._target_"


@pytest.mark.parametrize(
    ("given", "key", "words"),
    [
        ([WIDE, "algo.critic.widht=4"], "algo.critic.widht", "mean algo.critic.width.*scale, sizes, width"),
        ([WIDE, "algo.critic.width=1"], "algo.critic.width", "1 is not allowed; it must be an integer, at least 2"),
        ([WIDE, "algo.critic.width=2.5"], "algo.critic.width", "2.5 is not an integer"),
        ([WIDE, "algo.critic.scale=a"], "algo.critic.scale", "is not a number, or null"),
        (["algo.critic.width=4"], "algo.critic.width", "algo.critic has no keys of its own; algo.critic._target_="),
        ([f"{OBJECTIVE}=my_module.MustBeGiven"], "algo.objective.power", "must be given"),
        ([f"{OBJECTIVE}=my_module.NotFrozen"], OBJECTIVE, "is not a frozen dataclass"),
        ([f"{OBJECTIVE}=my_module.Half"], OBJECTIVE, "my_module.Half lacks loss, target; "),
        ([f"{OBJECTIVE}=my_module.Odd"], "algo.objective.inner", "has the type dict.* a key may have bool, int"),
        ([f"{OBJECTIVE}=my_module.Nothing"], OBJECTIVE, "there is no my_module.Nothing"),
        (["algo.critic=7"], "algo.critic", "7 is not a block of keys"),
    ],
)
def test_what_a_part_cannot_be_is_one_line(given: list[str], key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refusal:
        compose(given)
    assert refusal.value.key == key
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("how", "key", "words"),
    [
        ("raise", "algo.order._target_", r"Order.programs\(20\): IndexError: out of ideas"),
        ("leave", "algo.order._target_", r"Order.programs\(20\): ForeignExitError: it called sys.exit\(0\)"),
        ("too many", "algo.order._target_", r"Order.programs\(20\): program 0 makes 21 critic updates of 20"),
        ("badly made", "algo.order", "how is odd"),
    ],
)
def test_an_order_that_cannot_be_followed_is_refused(how: str, key: str, words: str) -> None:
    compose(["algo.order._target_=my_module.Order"])
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}: {words}$"):
        compose(["algo.order._target_=my_module.Order", f"algo.order.how={how}"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Unbuilt", r"cannot be built: no such house"),
        ("Unordered", r"cannot be built: it called sys.exit\('gone'\)"),
        ("Bare", r"lacks action_map, actor_heads, first_update_step, measure, policy_objective, random_steps; .*"),
        ("Nothing", r"there is no my_module.Nothing.*"),
    ],
)
def test_a_code_base_that_cannot_be_built_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^codebase\._target_: (my_module\.{name} )?{words}$"):
        compose([f"codebase._target_=my_module.{name}"])


def test_a_policy_that_never_learns_has_no_means_to_log(elsewhere: Path) -> None:
    """Nor one that learns less often than is measured."""
    assert train("algo.order._target_=my_module.Order") == 0
    learned = [row for row in rows(only_run(), "train") if row["critic_loss"]]
    assert [(row["policy_loss"], row["entropy"], row["temperature"]) for row in learned] == [("", "", "1.0")]


def test_a_typed_part_takes_the_place_of_a_chosen_one_with_its_keys(tmp_path: Path) -> None:
    (tmp_path / "conf" / "algo").mkdir(parents=True)
    chosen = "critic: {_target_: my_module.Wide, width: 7}\nobjective: {_target_: my_module.MustBeGiven, power: 2}\n"
    (tmp_path / "conf" / "algo" / "mine.yaml").write_text(
        f"name: mine\nnum_critics: 2\nnum_min: 2\nlayer_norm: false\ndropout_rate: 0\n{chosen}"
    )
    mine = [f"hydra.searchpath=['file://{tmp_path}/conf']", "algo=mine"]
    usual = "droq_exp.learner.networks.EnsembleCritic"
    assert compose(mine)[0].algo.critic.width == 7
    for typed in (f"algo.critic._target_={usual}", f"algo.critic={{_target_: {usual}}}"):
        config, _ = compose([*mine, typed])
        assert (vars(config.algo.critic), config.algo.objective.power) == ({"_target_": usual}, 2.0)
    assert compose([*mine, WIDE])[0].algo.critic.width == 7  # the same one
    with pytest.raises(ConfigError, match=r"algo\.objective\.power: must be given"):
        compose([*mine, "algo.objective._target_=my_module.Other"])


def test_a_part_is_part_of_what_a_run_is_and_the_projects_own_are_not_named() -> None:
    usual, recipe = compose(["algo=sac"])
    parts = ("critic.", "objective", "actor.", "order")
    assert not any(part in key for part in parts for key in identity(usual))
    assert run_directory(usual, recipe, 0).parts[-2:] == ("hopper", "seed_0")
    config, recipe = compose(["algo=sac", WIDE, "algo.critic.width=4"])
    changed = {key: ours for key, (_, ours) in differences(config, recipe).items()}
    assert changed == {
        "algo.critic._target_": "my_module.Wide",
        "algo.critic.width": 4,
        "algo.critic.sizes": [1, 2],
        "algo.critic.scale": None,
    }
    other, recipe = compose(["algo=sac", WIDE, "algo.critic.width=5"])
    assert run_directory(other, recipe, 0) != run_directory(config, recipe, 0)


def test_a_sweep_over_parts_and_their_keys() -> None:
    points = compose_sweep([WIDE, "algo.critic.width=4,5"])
    assert [config.algo.critic.width for config, _ in points] == [4, 5]
    points = compose_sweep(["algo.critic._target_=my_module.Wide,droq_exp.learner.networks.EnsembleCritic"])
    assert [config.algo.critic._target_.rpartition(".")[2] for config, _ in points] == ["Wide", "EnsembleCritic"]


def test_a_part_that_nobody_trusts_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DROQ_EXP_TRUST")
    (tmp_path / "bait.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    for given in (["algo.critic._target_=bait.Part"], ["algo.critic={_target_: bait.Part}"]):
        with pytest.raises(ConfigError, match=r"bait\.Part is not one of this project's; --trust bait"):
            compose(given)
        with pytest.raises(ConfigError, match=r"bait\.Part is not one of this project's"):
            own_parts(given)
    assert not (tmp_path / "executed").exists()
    with trusting(["bait"]), pytest.raises(ConfigError, match=r"there is no bait\.Part"):
        compose(["algo.critic._target_=bait.Part"])
    assert (tmp_path / "executed").exists()


BEHIND = "algo.order._target_=droq_exp.learner.orders.PolicyBehindCritics"


def test_another_part_of_this_project_needs_no_trust_and_takes_the_place_of_the_code_bases() -> None:
    usual, _ = compose(["algo=sac", "codebase=redq"])
    config, recipe = compose(["algo=sac", "codebase=redq", BEHIND, "algo.order.delay=2"])
    assert learner_spec(config).order == PolicyBehindCritics(2)
    assert learner_spec(usual).order == PolicyBesideCritics(20)
    assert (learner_spec(config).first_alpha, learner_spec(usual).first_alpha) == (None, 0.2)
    assert set(differences(config, recipe)) == {"algo.order._target_", "algo.order.delay"}
    assert "learner/orders.py" in code_of(config)
    with pytest.raises(ConfigError, match="0 is not allowed; it must be an integer, at least 1"):
        compose([BEHIND, "algo.order.delay=0"])
    assert learner_spec(compose(["algo.order._target_=null", "codebase=ku"])[0]).order == PolicyAfterCritics()


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (["algo=crossq", "algo.layer_norm=true"], "algo.layer_norm"),
        (["algo=sac", "algo.actor._target_=my_module.Blind", "algo.actor_hidden_sizes=[4]"], "algo.actor_hidden_sizes"),
        (["algo=crossq", "algo.dropout_rate=0.1"], "algo.joint_pass"),
        (["algo=sac", "algo.joint_pass=true"], "algo.joint_pass"),
        (["algo=sac", "algo.target_network=false"], "algo.target_network"),
        (["algo=crossq", "algo.num_critics=5"], "algo.target_network"),
        (["algo=xqc", "algo.target_mode=rem"], "algo.target_mode"),
        (["algo=xqc", "algo.num_critics=5"], "algo.num_min"),
        (["algo=xqc", "algo.target_passes=2"], "algo.target_passes"),
        (["algo=xqc", "algo.joint_pass=false", "algo.dropout_rate=0.1"], "algo.dropout_rate"),
    ],
)
def test_a_shared_key_that_no_part_looks_at_is_refused(given: list[str], key: str) -> None:
    with pytest.raises(ConfigError) as told:
        compose(given)
    assert told.value.key == key


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("algo=crossq codebase=ku", "algo.order: PolicyBehindCritics does not go with codebase=ku, but with .*=redq"),
        ("algo=xqc codebase=ku", "algo.order: PolicyBehindFirstCritics does not go with codebase=ku, but with .*=redq"),
        ("algo=flashsac codebase=ku", "algo.order: PolicyBeforeCritics does not go with codebase=ku"),
        ("algo=flashsac algo.hidden_sizes=[8,9]", r"algo.critic: algo.hidden_sizes=\[8, 9\] must be one number"),
        ("algo=flashsac algo.actor_hidden_sizes=[8,9]", "algo.actor: algo.actor_hidden_sizes"),
        (
            "algo=sac algo.objective._target_={0}.CategoricalTd",
            "algo.objective: it needs 101 outputs .*, and EnsembleC",
        ),
        ("algo=xqc algo.objective.low=5", "algo.objective: low=5 must be less than high=5"),
        ("algo=sac algo.joint_policy_pass=true", "algo.joint_policy_pass: .* an actor that normalises over the batch"),
        ("algo=sac algo.learning_rate_horizon=9", "algo.learning_rate_horizon: .* algo.learning_rate_end=null"),
        ("algo=xqc algo.learn_temperature=false", "algo.temperature_loss: .* algo.learn_temperature=false"),
    ],
)
def test_what_makes_no_sense_together_is_refused_in_one_line(given: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        compose(given.format("droq_exp.learner.categorical").split())


def test_a_head_of_one_output_goes_with_batch_norm_too() -> None:
    usual = "droq_exp.learner.losses.SquaredTdError"
    spec = learner_spec(compose(["algo=xqc", f"algo.objective={{_target_: {usual}}}"])[0])
    assert spec.critic.shapes(spec)["bias"] == (2, 1, 1)


def test_where_rates_decay_the_length_is_part_of_what_a_run_is() -> None:
    config, recipe = compose(["algo=xqc", "env=hopper"])
    assert config.algo.learning_rate_horizon == 2 * config.training.total_steps
    longer, its_recipe = compose(["algo=xqc", "env=hopper", "training.total_steps=200000"])
    assert differences(longer, its_recipe) == {"algo.learning_rate_horizon": (250_000, 400_000)}
    extended = compose(["algo=xqc", "env=hopper", "training.total_steps=200000", "algo.learning_rate_horizon=250000"])
    assert run_directory(*extended, 0) == run_directory(config, recipe, 0)
    assert compose(["algo=droq", "env=hopper"])[0].algo.learning_rate_horizon is None


def test_a_part_that_names_no_keys_may_look_at_any() -> None:
    compose(["algo=sac", "algo.actor._target_=my_module.Silent", "algo.actor_hidden_sizes=[4]"])


def test_statistics_of_before_the_last_update_are_not_to_be_had() -> None:
    config, _ = compose(["algo=crossq", "algo.order={_target_: null}"])
    with pytest.raises(ConfigError, match=r"algo.order: .*BatchRenormCritic keeps no statistics of then; .*Behind"):
        learner_spec(config)
