"""A trained run, read back to act: its configuration and weights, and nothing that only training needs."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import yaml
from numpy.typing import ArrayLike
from omegaconf import OmegaConf
from torch import Tensor

from droq_exp.agent.agent import Agent
from droq_exp.agent.deterministic import deterministic_policy
from droq_exp.config.errors import ConfigError
from droq_exp.config.schema import Config, HardwareConfig
from droq_exp.config.targets import check_stored, trusting
from droq_exp.config.task import dimensions
from droq_exp.config.validation import to_config
from droq_exp.envs import exchange
from droq_exp.envs.build import build_env
from droq_exp.envs.make import action_bounds, close
from droq_exp.evaluation.episodes import SIDE_BY_SIDE, Episode, Trajectory, play
from droq_exp.evaluation.export import ExportError, Played, check_file, described, snippet, write_policy
from droq_exp.learner.backend import EAGER
from droq_exp.learner.state import with_alpha
from droq_exp.random_streams import Stream, derived_seed, generator
from droq_exp.runs.checkpoint import CheckpointError, check_weights
from droq_exp.runs.checkpoint_files import FOLDER, WEIGHTS
from droq_exp.runs.files import load_yaml
from droq_exp.runs.identity import NOT_CONFIGURATION, departures
from droq_exp.runs.results import changed_results
from droq_exp.runs.takeover import other_format, other_observation
from droq_exp.training.hardware import Hardware
from droq_exp.training.train import build_agent

# A few observations at a time: no work for a GPU, nor for compilers.
HERE = Hardware(device="cpu", backend=EAGER)
CHECKED = 1_000  # actions of a file that are compared with the policy's


@dataclass(frozen=True)
class LoadedPolicy:
    """One seed's agent as its last evaluation left it.

    Args:
        directory: the run's.
        config: the run's, but for hardware, loggers and callbacks.
        step: environment step of the weights.
        agent: of this one seed, on the CPU, never compiled.
        rng: draws the noise of samples where :meth:`predict` is given no generator; begins alike in each load.
    """

    directory: Path
    config: Config
    step: int
    agent: Agent
    rng: np.random.Generator

    def predict(
        self, obs: ArrayLike, *, deterministic: bool = True, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """The action at one observation or at each of a batch, as ``step`` of the run's task takes it.

        The same to the bit, whatever else is in the batch, and as in the evaluations of training.

        Args:
            obs: ``[obs]`` or ``[n, obs]``.
            deterministic: ``tanh(mean)`` instead of a sample of the policy.
            rng: draws the noise of samples; of a batch, the same as one observation after another. None: ``self.rng``.

        Returns:
            float32 ``[act]`` or ``[n, act]``.

        Raises:
            ValueError: ``obs`` has another shape.
        """
        given = np.asarray(obs, dtype=np.float32)
        obs_dim, act_dim = self.agent.spec.obs_dim, self.agent.spec.act_dim
        if given.ndim not in (1, 2) or given.shape[-1] != obs_dim:
            problem = f"observations of {self.config.env.id} are [{obs_dim}], batches of them [n, {obs_dim}]"
            raise ValueError(f"{problem}; these are {list(given.shape)}")
        count = len(given) if given.ndim == 2 else 1
        whole = -(-count // SIDE_BY_SIDE) * SIDE_BY_SIDE  # rows that the policy is asked for: see SIDE_BY_SIDE
        rows, noise, actions = (np.zeros((whole, size), dtype=np.float32) for size in (obs_dim, act_dim, act_dim))
        rows[:count] = given
        if not deterministic:
            source = self.rng if rng is None else rng
            noise[:count] = source.standard_normal((count, act_dim), dtype=np.float32)
        for start in range(0, whole, SIDE_BY_SIDE):
            block = slice(start, start + SIDE_BY_SIDE)
            actions[block] = self.agent.act(rows[None, block], noise[None, block])[0][0]
        return actions[:count].reshape(*given.shape[:-1], act_dim)

    def make_env(self, **kwargs: Any) -> gymnasium.Env:
        """Make the run's task; ``kwargs`` (a render mode, say) go before those of the configuration."""
        return build_env(replace(self.config.env, kwargs={**self.config.env.kwargs, **kwargs}))

    def episodes(
        self, envs: Sequence[gymnasium.Env], count: int, seed: int, *, stochastic: bool = False
    ) -> Iterator[Trajectory]:
        """Play ``count`` episodes, each from a seeded reset of its own, as many at once as there are environments.

        Args:
            envs: of :meth:`make_env`, at most ``SIDE_BY_SIDE``; how many they are changes no episode.
            count: of episodes.
            seed: any, at least 0; with equal seeds the first episodes are the same however many follow. No evaluation
                of training has resets of these streams.
            stochastic: sample the policy instead of taking ``tanh(mean)``.
        """
        for start in range(0, count, len(envs)):
            played = play(
                self.agent,
                {0: [self._episode(*each, seed, stochastic) for each in zip(envs, range(start, count), strict=False)]},
            )[0]
            if isinstance(played, Exception):
                raise played
            yield from played

    def export(self, path: str | PathLike[str]) -> str:
        """Write the deterministic policy to ``path``, .onnx or .safetensors, for programs without this project.

        Returns:
            Lines of Python that load it.

        Raises:
            ExportError: the file exists or cannot be written, a package is missing (the extra ``export`` has them), or
                what would be written does not act as the policy does in an episode.
        """
        file = Path(path)
        check_file(file)
        if not isinstance(self.agent, Agent):
            raise ExportError(f"{self.config.algo._target_} is no droq_exp.agent.Agent, whose policies can be exported")
        env = self.make_env()
        try:
            low, high = action_bounds(env)
            assert env.action_space.dtype is not None
            policy = deterministic_policy(self.agent, 0, low, high, env.action_space.dtype)
            told = described(self.config, env, self.step)
            write_policy(file, policy, told, self._played(env, high - low))
        finally:
            close(env)
        return snippet(file, told)

    def _played(self, env: gymnasium.Env, width: np.ndarray) -> Played:
        """An episode's first steps, ``CHECKED`` at most: one without a time limit may not end."""
        seen, acted = [exchange.reset(env, derived_seed(0, Stream.PLAY_ENV, 0))], []
        while True:
            acted.append(self.predict(seen[-1]))
            outcome = exchange.step(env, acted[-1], len(acted))
            if outcome.terminated or outcome.truncated or len(acted) == CHECKED:
                return Played(np.stack(seen), np.stack(acted), width)
            seen.append(outcome.obs)

    def _episode(self, env: gymnasium.Env, number: int, seed: int, stochastic: bool) -> Episode:
        rng = generator(seed, Stream.PLAY_ACTION, number) if stochastic else None
        return Episode(env, derived_seed(seed, Stream.PLAY_ENV, number), rng)


def load(directory: str | PathLike[str], trust: Iterable[str] = ()) -> LoadedPolicy:
    """Read the run in ``directory``; nothing is written, and nothing that the files hold is executed.

    Args:
        directory: of one seed.
        trust: packages whose targets and tasks may be built, beside this project's own (SECURITY.md), for this run and
            no other.

    Raises:
        ConfigError: its config.yaml is missing, damaged or no run's, or its task cannot be made here.
        CheckpointError: its weights are missing, damaged, or not those of its configuration.
    """
    with trusting(trust):
        return _load(Path(directory))


def _load(directory: Path) -> LoadedPolicy:
    config = read_config(directory)
    dimensions(config.env)  # refuses in one line what cannot be made
    env = build_env(config.env)
    agent = build_agent(config, [config.seed], env, HERE)
    close(env)
    path = directory / FOLDER / WEIGHTS
    step, tensors = read_weights(path)
    tensors = with_alpha(tensors)
    expected = agent.weights_of(0)
    tensors = {name: value for name, value in expected.items() if not value.numel()} | tensors  # older runs lack them
    wrong = [name for name in expected if name not in tensors or tensors[name].shape != expected[name].shape]
    if wrong:
        raise CheckpointError(f"{path} does not fit the run's config.yaml: {', '.join(wrong)}")
    agent.load_weights_of(0, tensors)
    return LoadedPolicy(directory, config, step, agent, generator(config.seeds[0], Stream.PLAY_ACTION))


def read_config(directory: Path) -> Config:
    """Read ``config.yaml``, checked as a command's configuration is, but for loggers, callbacks and this hardware.

    Raises:
        ConfigError: it is missing, damaged, or no run's.
    """
    path = directory / "config.yaml"
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(str(path), "is missing: this is no run, or one that has not started") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"is damaged: {error}") from error
    if not isinstance(values, dict) or not {"algo", "env", "codebase", "seed"} <= values.keys():
        raise ConfigError(str(path), "is not the configuration of a run")
    if (unknown := other_format(values)) is not None:
        raise ConfigError(str(path), unknown)
    if "${" in json.dumps(values, default=str):  # it holds what was resolved; nothing of the reader's flows in
        raise ConfigError(str(path), "holds an interpolation, as no run's configuration does")
    check_stored(str(path), values)
    kept = {key: value for key, value in values.items() if key not in NOT_CONFIGURATION}
    # Where it was trained, what it logged to and what watched it may not be here.
    config = to_config(OmegaConf.create({**kept, "hardware": {}, "logger": {}, "callbacks": {}}))
    wrong = departures(values.get("identity"), config)
    if wrong:
        raise ConfigError(str(path), f"is damaged: {', '.join(wrong)} differs from what its identity says")
    if (problem := other_observation(values, config)) is not None:
        raise ConfigError(str(path), f"{problem}: the policy knows those that it was trained on")
    return replace(config, hardware=HardwareConfig(device="cpu", updates="eager"))


def read_weights(path: Path) -> tuple[int, dict[str, Tensor]]:
    """Read ``weights.pt``: its environment step and its tensors. Only tensors and plain values are unpickled.

    Raises:
        CheckpointError: it is missing, damaged, or holds anything else.
    """
    try:
        data = path.read_bytes()
        check_weights(data)
        if changed_results(path.parent.parent, f"{FOLDER}/{WEIGHTS}"):
            raise CheckpointError("it has changed since the run was done")
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: weights are first written at the first evaluation") from error
    except Exception as error:  # a damaged file makes the reader stumble in many ways; all of them mean this
        reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
        raise CheckpointError(f"{path} is damaged, or not only weights: {reason}") from error
    if not isinstance(content, dict) or not isinstance(content.get("step"), int):
        raise CheckpointError(f"{path} is damaged: it has no step")
    return content["step"], {name: value for name, value in content.items() if isinstance(value, Tensor)}
