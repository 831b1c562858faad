"""The algorithms' and the environments' numbers, typed here by hand from the sources."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from droq_exp.config import compose
from droq_exp.training.hardware import build_codebase

# env: (ku target entropy, ku dropout, redq target entropy, redq dropout, ku steps, redq steps)
BY_ENVIRONMENT = {
    "hopper": (-1, 0.01, -1, 0.0001, 100_000, 125_000),
    "walker2d": (-3, 0.01, -3, 0.005, 300_000, 300_000),
    "ant": (-4, 0.01, -4, 0.01, 300_000, 300_000),
    "humanoid": (-2, 0.01, -2, 0.1, 300_000, 300_000),
    "humanoid_full": (-2, 0.01, -2, 0.1, 300_000, 300_000),
    "halfcheetah": (-3, 0.01, -3, 0.01, 400_000, 400_000),
    "inverted_pendulum": (-1, 0.01, -1, 0.01, 100_000, 100_000),  # no row: -dim(A), the defaults
    "quadruped": (-12, 0.01, -12, 0.01, 100_000, 100_000),  # no row either; experiment=walk_in_the_park has numbers
}

# algo: (critics, num_min, target passes, dropout, layer norm)
BY_ALGORITHM = {
    "sac": (2, 2, 1, False, False),
    "redq": (10, 2, 1, False, False),
    "duvn": (1, 1, 1, True, False),
    "droq": (2, 2, 1, True, True),
    "droq_single": (1, 1, 2, True, True),
    "droq_no_dropout": (2, 2, 1, False, True),
    "droq_no_layernorm": (2, 2, 1, True, False),
    "redq_layernorm": (10, 2, 1, False, True),
}


@pytest.mark.parametrize("env", BY_ENVIRONMENT)
def test_numbers_by_codebase_and_environment(env: str) -> None:
    ku_entropy, ku_dropout, redq_entropy, redq_dropout, ku_steps, redq_steps = BY_ENVIRONMENT[env]
    ku, _ = compose([f"env={env}", "codebase=ku"])
    redq, _ = compose([f"env={env}", "codebase=redq"])
    assert (ku.algo.target_entropy, ku.algo.dropout_rate, ku.training.total_steps) == (ku_entropy, ku_dropout, ku_steps)
    assert (redq.algo.target_entropy, redq.algo.dropout_rate) == (redq_entropy, redq_dropout)
    assert redq.training.total_steps == redq_steps


def test_another_task_gets_the_documented_default() -> None:
    config, _ = compose(["env=gym", "env.id=Reacher-v5"])  # two actions
    assert (config.algo.target_entropy, config.algo.dropout_rate, config.training.total_steps) == (-2.0, 0.01, 100_000)


@pytest.mark.parametrize("algo", BY_ALGORITHM)
@pytest.mark.parametrize("codebase", ["redq", "ku"])
def test_algorithms(algo: str, codebase: str) -> None:
    critics, num_min, passes, dropout, layer_norm = BY_ALGORITHM[algo]
    config, _ = compose([f"algo={algo}", f"codebase={codebase}", "env=walker2d"])
    table = {"redq": 0.005, "ku": 0.01}[codebase]
    assert (config.algo.num_critics, config.algo.num_min, config.algo.target_passes) == (critics, num_min, passes)
    assert (config.algo.dropout_rate, config.algo.layer_norm) == (table if dropout else 0.0, layer_norm)
    assert (config.algo.utd_ratio, config.algo.batch_size, config.algo.hidden_sizes) == (20, 256, [256, 256])
    assert (config.algo.gamma, config.algo.tau, config.algo.target_mode) == (0.99, 0.005, "min")
    rates = config.algo.critic_learning_rate, config.algo.actor_learning_rate, config.algo.temperature_learning_rate
    assert rates == (3e-4, 3e-4, 3e-4)
    assert (config.algo.learn_temperature, config.algo.initial_temperature) == (True, 1.0)
    assert (config.training.start_steps, config.training.replay_size, config.eval.interval) == (5000, 1_000_000, 1000)


def test_codebases() -> None:
    redq, _ = compose(["codebase=redq"])
    ku, _ = compose(["codebase=ku"])
    assert (redq.codebase.policy_update_delay, redq.eval.episodes) == (20, 1)
    assert (redq.bias.min_pairs, redq.bias.steps_per_episode, redq.bias.temperature) == (1000, 350, None)
    assert ku.eval.episodes == 10
    assert not hasattr(ku.codebase, "policy_update_delay")
    assert vars(ku.bias) == {"enabled": True}


ENVIRONMENTS = {
    "hopper": ("Hopper-v5", {}),
    "walker2d": ("Walker2d-v5", {"xml_file": "walker2d.xml"}),
    "ant": ("Ant-v5", {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0}),
    "humanoid": (
        "Humanoid-v5",
        {
            "include_cinert_in_observation": False,
            "include_cvel_in_observation": False,
            "include_qfrc_actuator_in_observation": False,
            "include_cfrc_ext_in_observation": False,
            "contact_cost_weight": 0,
        },
    ),
    "humanoid_full": ("Humanoid-v5", {}),
    "halfcheetah": ("HalfCheetah-v5", {}),
    "inverted_pendulum": ("InvertedPendulum-v5", {}),
    "quadruped": ("droq_exp/Quadruped-v0", {}),
}


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_environments(env: str) -> None:
    config, _ = compose([f"env={env}"])
    assert (config.env.id, config.env.kwargs) == ENVIRONMENTS[env]


def test_crossq_has_the_numbers_of_its_implementation_in_sbx() -> None:
    algo = compose(["algo=crossq", "env=walker2d"])[0].algo
    assert (algo.num_critics, algo.num_min, algo.utd_ratio, algo.batch_size) == (2, 2, 1, 256)
    assert (algo.hidden_sizes, algo.actor_hidden_sizes) == ([1024, 1024], [256, 256])
    rates = algo.critic_learning_rate, algo.actor_learning_rate, algo.temperature_learning_rate, algo.adam_beta1
    assert rates == (1e-3, 1e-3, 1e-3, 0.5)
    assert (algo.target_entropy, algo.initial_temperature, algo.gamma) == (-6.0, 1.0, 0.99)  # -dim(A), not the table's
    assert (algo.target_network, algo.joint_pass, algo.order.delay) == (False, True, 3)
    for network in (algo.critic, algo.actor):
        assert (network.momentum, network.eps, network.warmup) == (0.01, 1e-3, 100_000)


def test_xqc_has_the_numbers_of_its_implementation() -> None:
    algo = compose(["algo=xqc", "env=walker2d"])[0].algo
    assert (algo.num_critics, algo.num_min, algo.utd_ratio, algo.batch_size) == (2, 2, 2, 256)
    assert (algo.hidden_sizes, algo.actor_hidden_sizes) == ([512] * 4, [256] * 4)
    rates = algo.critic_learning_rate, algo.actor_learning_rate, algo.temperature_learning_rate, algo.adam_beta1
    assert (*rates, algo.learning_rate_end, algo.learning_rate_shape) == (3e-4, 3e-4, 3e-4, 0.9, 3e-5, "linear")
    assert (algo.gamma, algo.tau, algo.initial_temperature, algo.target_entropy) == (0.995, 0.005, 0.01, -3.0)
    assert (algo.temperature_loss, algo.reward_scale, algo.noise_repeat) == ("alpha_form", "return_std", 1)
    assert (algo.target_network, algo.joint_pass, algo.joint_policy_pass, algo.order.delay) == (True, True, False, 3)
    objective = algo.objective
    assert (objective.atoms, objective.low, objective.high, objective.over_critics) == (101, -5, 5, "sum")
    for network in (algo.critic, algo.actor):
        norm = network.momentum, network.eps, network.unbiased
        assert (*norm, network.projection) == (0.01, 1e-3, False, "kernels")
    assert (algo.actor.log_std, algo.actor.log_std_min) == ("clip", -10)


def test_flashsac_has_the_numbers_of_its_implementation() -> None:
    config, _ = compose(["algo=flashsac", "env=walker2d"])
    algo = config.algo
    assert (algo.num_critics, algo.num_min, algo.utd_ratio, algo.batch_size) == (2, 2, 1, 512)
    assert (algo.hidden_sizes, algo.actor_hidden_sizes) == ([256] * 2, [128] * 2)
    rates = algo.critic_learning_rate, algo.actor_learning_rate, algo.temperature_learning_rate, algo.adam_beta1
    assert (*rates, algo.learning_rate_end, algo.learning_rate_shape) == (3e-4, 3e-4, 3e-4, 0.9, 1.5e-4, "cosine")
    assert (algo.gamma, algo.tau, algo.initial_temperature) == (0.99, 0.01, 0.01)
    assert algo.target_entropy == pytest.approx(6 * 0.5 * math.log(2 * math.pi * math.e * 0.15**2), rel=1e-6)
    assert (algo.temperature_loss, algo.reward_scale, algo.noise_repeat) == ("alpha_form", "return_std_max", 16)
    assert (algo.target_network, algo.joint_pass, algo.joint_policy_pass, algo.order.delay) == (True, True, True, 2)
    objective = algo.objective
    assert (objective.atoms, objective.low, objective.high, objective.over_critics) == (101, -5, 5, "mean")
    for network in (algo.critic, algo.actor):
        norm = network.momentum, network.eps, network.unbiased
        assert (*norm, network.projection, network.expansion) == (0.01, 1e-5, True, "kernels_and_norms", 4)
    assert (algo.actor.log_std, algo.actor.log_std_min) == ("tanh", -10)
    codebase, start = build_codebase(config.codebase), config.training.start_steps
    assert (codebase.random_steps(start), codebase.first_update_step(start, 512)) == (10_000, 10_000)


def test_speq_has_the_numbers_of_its_code_and_droqs_dropout_rates() -> None:
    speq, droq = (compose([f"algo={algo}", "env=walker2d"])[0] for algo in ("speq", "droq"))
    assert (speq.training.offline_every, speq.training.offline_updates, speq.algo.utd_ratio) == (10_000, 75_000, 1)
    assert replace(speq.algo, name="droq", utd_ratio=20) == droq.algo
    assert speq.training.total_steps == 300_000
    assert speq.critic_updates == 295_000 + 30 * 75_000


def test_robopianist_has_the_numbers_of_its_authors() -> None:
    pytest.importorskip("robopianist")
    config, _ = compose(["experiment=robopianist"])
    algo, training = config.algo, config.training
    assert (algo.num_critics, algo.num_min, algo.layer_norm, algo.dropout_rate) == (2, 2, True, 0.01)
    assert (algo.utd_ratio, algo.batch_size, algo.gamma, algo.tau) == (1, 256, 0.8, 0.005)
    assert (algo.hidden_sizes, algo.activation, algo.target_entropy) == ([256, 256, 256], "gelu", -19.5)  # 39 actions
    assert algo.objective._target_ == "droq_exp.learner.losses.HalfSquaredTdError"
    assert (training.total_steps, training.start_steps, training.replay_size) == (5_000_000, 5000, 1_000_000)
    assert (config.eval.interval, config.eval.episodes, config.algo.initial_temperature) == (10_000, 1, 1.0)
    assert (config.env.id, config.env.kwargs) == ("robopianist/TwinkleTwinkleRousseau-v0", {})
    assert config.env.info_metrics == ["precision", "recall", "f1"]
