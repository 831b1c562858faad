"""Train one point of a command: build everything from the configuration, run the loop, end every run in order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import gymnasium
from hydra.utils import instantiate

from droq_exp import hardware
from droq_exp.agent import Agent
from droq_exp.config.schema import Config
from droq_exp.envs import action_bounds, space_dims
from droq_exp.loggers import Loggers
from droq_exp.loop import TrainingLoop
from droq_exp.member import Member
from droq_exp.progress import Progress
from droq_exp.replay import Replay
from droq_exp.run import Run, run_directory
from droq_exp.stopping import StopSignal


def train(config: Config, recipe: Config) -> int:
    """Train every seed of ``config`` that has not finished, side by side.

    Args:
        config: what to train, resolved and validated.
        recipe: the same group choices with no value changed; what differs from it names the run directory.

    Returns:
        The process's exit code: 0, 1 where a seed failed, or 130 / 143 after SIGINT / SIGTERM.

    """
    seeds = config.seed if isinstance(config.seed, list) else [config.seed]
    seeds = [seed for seed in seeds if not _already_finished(config, recipe, seed)]
    if not seeds:
        return 0
    machine = hardware.set_up(config.hardware)
    runs: list[Run] = []
    with StopSignal() as stop:
        try:
            for seed in seeds:
                runs.append(Run.open(config, recipe, seed, device=machine.description))
                print(runs[-1].directory, flush=True)
            code = _train_pack(config, runs, machine, stop)
        except BaseException as error:
            # Whatever happens, no run stays behind as "running". An interrupted compiler raises errors of its own.
            for run in runs:
                if stop.received is None:
                    run.fail(run.step, error)
                else:
                    run.log.info("after %s: %r", stop.name, error)
                    run.interrupt(run.step, stop.name)
            if stop.received is None:
                raise
            code = stop.exit_code
    return code


def _already_finished(config: Config, recipe: Config, seed: int) -> bool:
    directory = run_directory(config, recipe, seed)
    steps = Run.finished_steps(directory)
    finished = steps is not None and steps >= config.training.total_steps
    if finished:
        print(f"already finished at step {steps:,}: {directory}", flush=True)
    return finished


def _train_pack(config: Config, runs: list[Run], machine: hardware.Hardware, stop: StopSignal) -> int:
    envs, eval_envs = (make_environments(config, len(runs)) for _ in range(2))
    agent = build_agent(config, [run.seed for run in runs], envs[0], machine)
    replay = Replay(len(runs), config.training.replay_size, agent.spec.row_size, agent.device)
    label = f"{config.algo.name} {config.env.id}"
    with ExitStack() as closing, Progress(label, config.training.total_steps, agent.seeds) as progress:
        members: list[Member] = []
        for run, env, eval_env in zip(runs, envs, eval_envs, strict=True):
            member = Member(run, Loggers(config.logger, run.info), env, eval_env)
            closing.callback(_close, member, stop)  # whatever happens next, a second Ctrl-C too
            members.append(member)
        loop = TrainingLoop(agent, replay, members, config, progress)
        try:
            loop.run(stop)
        except Exception as error:
            for member in members:
                if member.active and stop.received is None:
                    member.fail(loop.step, error)
                elif member.active:
                    member.run.log.info("after %s: %r", stop.name, error)
        for member in members:
            if member.active and (stop.received is None or loop.done):
                member.finish(loop.step)
            elif member.active:
                member.interrupt(loop.step, stop.name)
    if stop.received is not None:
        return stop.exit_code
    return int(any(run.state != "finished" for run in runs))


def make_environments(config: Config, count: int) -> list[gymnasium.Env]:
    """Make ``count`` environments of one task."""
    make_env = _builder(config.env)
    return [make_env() for _ in range(count)]


def build_agent(config: Config, seeds: list[int], env: gymnasium.Env, machine: hardware.Hardware) -> Agent:
    """Build the agent of a pack of seeds for the task of ``env``."""
    obs_dim, _ = space_dims(env)
    low, high = action_bounds(env)
    return _builder(config.algo)(
        style=_builder(config.codebase)(),
        seeds=seeds,
        obs_dim=obs_dim,
        action_low=low,
        action_high=high,
        device=machine.device,
        compile_updates=machine.compile_updates,
    )


def _close(member: Member, stop: StopSignal) -> None:
    member.close("failed" if stop.received is None else "interrupted")


def _builder(block: Any) -> Callable[..., Any]:
    """Instantiate a block's ``_target_`` as a partial: Hydra would turn objects passed to it into configs."""
    return instantiate({**asdict(block), "_partial_": True}, _convert_="all")
