"""Train one point of a command: build everything from the configuration, run the loop, end every run in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import gymnasium
from hydra.utils import get_class

from droq_exp.agent.agent import Agent
from droq_exp.agent.auto_dropout import AutoDropout
from droq_exp.agent.replay import Replay
from droq_exp.callbacks import Callbacks
from droq_exp.config.overrides import typed_key
from droq_exp.config.rules import AUTO
from droq_exp.config.schema import Config
from droq_exp.envs.build import build_env
from droq_exp.envs.make import action_bounds
from droq_exp.exits import no_exit
from droq_exp.learner.spec import LearnerSpec
from droq_exp.loggers import Loggers
from droq_exp.runs.directory import RunDirectory, run_directory
from droq_exp.runs.files import DamagedError
from droq_exp.runs.identity import ONCE
from droq_exp.runs.lock import RunLock
from droq_exp.runs.owner import LOCK
from droq_exp.runs.space import none_left_empty, refused_without_room
from droq_exp.runs.status import CUT_SHORT, DONE, read_status
from droq_exp.runs.takeover import check_checkpoints, check_directory, check_results, record_accepted, set_aside, tidy
from droq_exp.training import hardware, remarks
from droq_exp.training.filming import check as check_filming
from droq_exp.training.filming import filming
from droq_exp.training.loop import TrainingLoop
from droq_exp.training.progress import Progress
from droq_exp.training.resume import (
    Found,
    State,
    check_states,
    conditions,
    find_checkpoints,
    report_changes,
    start_points,
)
from droq_exp.training.seed_run import SeedRun
from droq_exp.training.stopping import StopSignal
from droq_exp.training.telling import tell_beginning, tell_end, tell_interruption


def train(config: Config, recipe: Config, overrides: Sequence[str] = ()) -> int:
    """Train every seed of ``config`` that is not done yet, side by side, each from its last checkpoint.

    Args:
        config: what to train, resolved and validated.
        recipe: the same group choices with no value changed; what differs from it names the run directory.
        overrides: the Hydra overrides that ``config`` was composed from, kept in each run's ``status.json``.

    Returns:
        The process's exit code: 0, 1 where a seed failed, or 128 and the signal's number, such as 143 after SIGTERM.

    Raises:
        OtherRunError: a directory holds a run of another identity, or results that would be deleted.
        HeldError: another process trains in one of the directories.
        DamagedError: a file of one of them is damaged, or its lock cannot be used.

    """
    seeds = config.seeds
    for seed in seeds:
        check_directory(run_directory(config, recipe, seed), config)
    if config.training.restart:
        for seed in seeds:
            if (aside := set_aside(run_directory(config, recipe, seed))) is not None:
                print(f"kept aside: {aside}", flush=True)
    seeds = [seed for seed in seeds if not _already_done(config, recipe, seed)]
    if not seeds:
        return 0
    machine = hardware.set_up(config, config.critic_updates)  # before anything is written: it may refuse
    check_filming(config)
    directories = {seed: run_directory(config, recipe, seed) for seed in seeds}
    with none_left_empty(directories.values()), ExitStack() as locks:
        found = {}
        for seed, directory in directories.items():
            with refused_without_room(directory):
                directory.mkdir(parents=True, exist_ok=True)
                locks.enter_context(_locked(directory))
            check_directory(directory, config)  # again, now that nobody else can write there
            found[seed] = find_checkpoints(directory, seed, config.training.total_steps)
            check_checkpoints(directory, found[seed].states, config.training.total_steps)
            check_states(directory, found[seed].states.values(), config)
        return _train_seeds(config, recipe, found, machine, overrides)


def _locked(directory: Path) -> RunLock:
    try:
        return RunLock.acquire(directory)
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:  # of the file, not of the disk
        raise DamagedError(f"{directory / LOCK} cannot be used: {error.strerror}") from error


def _train_seeds(
    config: Config, recipe: Config, found: dict[int, Found], machine: hardware.Hardware, overrides: Sequence[str]
) -> int:
    """Train the seeds whose directories are locked, in as many groups as their checkpoints make of them."""
    runs: list[RunDirectory] = []
    code = 0
    with StopSignal() as stop:
        try:
            for seed in found:
                once = ("seed", *ONCE)
                lines = [*(line for line in overrides if typed_key(line) not in once), f"seed={seed}"]
                with refused_without_room(run_directory(config, recipe, seed)):
                    run = RunDirectory.open(config, recipe, seed, device=machine.description, overrides=lines)
                runs.append(run)
                print(run.directory, flush=True)
            for group, states in start_points(runs, list(found.values())):
                if stop.received is None:
                    code = max(code, _train_together(config, group, states, machine, stop))
            for run in runs:
                if not run.ended:  # a signal came before its turn
                    run.interrupt(run.step, stop.name)
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
        if stop.received is not None:
            tell_interruption(runs, stop.name)
    return code


def _already_done(config: Config, recipe: Config, seed: int) -> bool:
    directory = run_directory(config, recipe, seed)
    status = read_status(directory) or {}
    if status.get("state") in DONE:
        tidy(directory)
        check_results(directory)
    if status.get("state") in CUT_SHORT:  # whatever it is to reach now: a longer run would have ended there too
        ways = "training.restart=true starts it over"
        print(
            f"already {status['state']} at step {status['step']:,} ({status.get('reason')}): {directory}; {ways}",
            flush=True,
        )
        record_accepted(directory, config)
        return True
    steps = RunDirectory.finished_steps(directory)
    finished = steps is not None and steps >= config.training.total_steps
    if finished:
        print(f"already finished at step {steps:,}: {directory}", flush=True)
        record_accepted(directory, config)
    return finished


class SeedsTogether(NamedTuple):
    """What trains side by side, built but not begun; all but ``agent`` and ``replay`` in the order of the seeds."""

    agent: Agent
    replay: Replay
    envs: list[gymnasium.Env]
    seed_runs: list[SeedRun]


@contextmanager
def open_training(
    config: Config, runs: Sequence[RunDirectory], states: Sequence[State], machine: hardware.Hardware, stop: StopSignal
) -> Iterator[SeedsTogether]:
    """Build what trains ``runs``, from ``states`` on if there are any; environments and loggers are closed at last."""
    envs = [build_env(config.env) for _ in runs]
    agent = build_agent(config, [run.seed for run in runs], envs[0], machine)
    replay = agent.new_replay(config.training.replay_size)
    for run in runs:
        with refused_without_room(run.directory):
            run.begin(states[0]["step"] if states else 0)
    with ExitStack() as closing:
        seed_runs: list[SeedRun] = []
        for index, (run, env) in enumerate(zip(runs, envs, strict=True)):
            callbacks = Callbacks(config.callbacks, run.directory)
            kept, problem = states[index]["member"].get("loggers") if states else None, None
            try:
                loggers = Loggers(config.logger, run.info, kept)
            except Exception as error:  # the other seeds go on
                loggers, problem = Loggers({}, run.info), error
            seed_run = SeedRun(run, loggers, callbacks, env, partial(build_env, config.env), agent.spec.layout.single)
            closing.callback(_close, seed_run, stop)  # whatever happens next, a second Ctrl-C too
            seed_runs.append(seed_run)
            if problem is not None:
                seed_run.fail(run.step, problem)
        yield SeedsTogether(agent, replay, envs, seed_runs)


def _train_together(
    config: Config, runs: list[RunDirectory], states: list[State], machine: hardware.Hardware, stop: StopSignal
) -> int:
    label = f"{config.algo.name} {config.env.id}"
    seeds = [run.seed for run in runs]
    now = conditions(seeds, machine)
    tell_beginning(config, seeds, states[0]["step"] if states else 0, machine.description)
    with (
        open_training(config, runs, states, machine, stop) as (agent, replay, envs, seed_runs),
        Progress(label, config.training.total_steps, seeds) as progress,
    ):
        for run, state in zip(runs, states, strict=False):  # without states: from step 0
            report_changes(run, state, now)
        films = filming(config)
        loop = TrainingLoop(agent, replay, seed_runs, config, progress, now, films)
        remarks.tell(config, envs[0], agent.codebase, loop.first_update, runs)
        try:
            with no_exit():
                if states:
                    loop.resume(states)
                else:
                    loop.begin()
                loop.run(stop)
                if loop.step and (not loop.done or config.checkpoint.keep_replay):
                    loop.save()
        except Exception as error:
            for seed_run in seed_runs:
                if seed_run.active and stop.received is None:
                    seed_run.fail(loop.step, error)
                elif seed_run.active:
                    seed_run.run.log.info("after %s: %r", stop.name, error)
        finally:
            if films is not None:
                films.close()
        for seed_run in seed_runs:
            if seed_run.active and (stop.received is None or loop.done):
                seed_run.finish(loop.step)
                if seed_run.run.state == "finished" and not config.checkpoint.keep_replay:
                    seed_run.run.checkpoints.drop()
            elif seed_run.active:
                seed_run.interrupt(loop.step, stop.name)
        seconds = loop.seconds
    tell_end(runs, seconds)
    if stop.received is not None:
        return stop.exit_code
    return int(any(run.state not in DONE for run in runs))


def build_agent(config: Config, seeds: list[int], env: gymnasium.Env, machine: hardware.Hardware) -> Agent:
    """Build the agent of the seeds for the task of ``env``; with ``algo.dropout_rate=auto`` it is several in one."""
    specs = hardware.learner_specs(config)
    agents = [_agent_of(replace(spec, seeds=len(seeds)), config, seeds, env, machine) for spec in specs]
    if config.algo.dropout_rate != AUTO:
        return agents[0]
    auto = config.algo.auto
    return AutoDropout(agents, explore=auto.explore, hold_out_every=auto.hold_out_every)


def _agent_of(
    spec: LearnerSpec, config: Config, seeds: list[int], env: gymnasium.Env, machine: hardware.Hardware
) -> Agent:
    low, high = action_bounds(env)
    agent: Agent = get_class(config.algo._target_)(
        spec,
        name=config.algo.name,
        codebase=hardware.build_codebase(config.codebase),
        seeds=seeds,
        action_low=low,
        action_high=high,
        device=machine.device,
        backend=machine.backend,
        normalize_observation=config.env.normalize_observation,
    )
    return agent


def _close(seed_run: SeedRun, stop: StopSignal) -> None:
    seed_run.close("failed" if stop.received is None else "interrupted")
