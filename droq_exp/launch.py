"""The command line: check every point of what is asked for, then let Hydra run the points."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
import traceback
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from droq_exp import __version__
from droq_exp.import_path import looking_in
from droq_exp.streams import prepare_streams

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from droq_exp.config import Config

INTERRUPTED = (129, 130, 143)  # SIGHUP, SIGINT, SIGTERM
LONGEST_WORD = 1000  # that is shown whole

# Of Hydra or of other programs: what each is for, and the way that works here.
_FLAGS = {
    "--config-name and --config-path": (
        ("-cn", "--config-name", "-cp", "--config-path"),
        "the configuration is always this project's; experiment=<name> with --config-dir=<folder> chooses yours",
    ),
    "--dry-run": (("-n", "--dry-run"), "`droq-exp plan` shows what a command would do, --cfg job its values"),
    "--run": (("-r", "--run"), "it runs without a flag; -m makes it a sweep"),
    "--shell-completion": (("-sc", "--shell-completion"), "there is none"),
    "--experimental-rerun": (("--experimental-rerun",), "the same command continues a run"),
    "--output-dir": (("-o", "--output", "--output-dir"), "output_dir=<folder> says where runs are"),
}
FLAGS = {flag: (name, way) for name, (flags, way) in _FLAGS.items() for flag in flags}

_checked: dict[tuple[str, ...], tuple[Config, Config]] = {}  # what has been composed of a point's overrides


class PointFailedError(RuntimeError):
    """A point of a sweep failed, and why has been told; ``str`` names it."""


def main(argv: list[str] | None = None) -> None:
    """Run ``python launch.py <argv>``.

    Args:
        argv: the arguments without the program's name; None: those of this process.

    Raises:
        SystemExit: 0 done; 1 a run failed; 2 the command is wrong, told in one line; 129, 130 or 143 interrupted.
    """
    prepare_streams()
    arguments = sys.argv[1:] if argv is None else argv
    parser = _parser()
    args = parser.parse_intermixed_args(arguments)
    check_working_directory()
    try:
        with looking_in([os.getcwd()]):  # a user's own parts are there
            _main(parser, args)
    except KeyboardInterrupt:
        print("interrupted while nothing trained; the same command continues", file=sys.stderr)
        sys.exit(130)


def _main(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.help and not args.overrides and args.config_dir is None:
        from droq_exp.config.help import help_text

        print(help_text(parser))
        return
    from droq_exp.config import ConfigError
    from droq_exp.config.targets import trusting
    from droq_exp.runs.files import DamagedError

    asked = [line for line in args.overrides if "=" not in line] if args.help else []
    try:
        overrides = with_config_dir([line for line in args.overrides if line not in asked], args.config_dir)
        with trusting(args.trust), trusting(named_by_user(overrides, args.config_dir)):
            if args.help:
                _help_with_parts(parser, overrides, asked)
            else:
                _run(args, overrides)
    except (ConfigError, DamagedError) as error:
        refuse(str(error))


def _help_with_parts(parser: argparse.ArgumentParser, overrides: Sequence[str], asked: Sequence[str]) -> None:
    """Show the help with the user's own choices, and the keys of the parts that ``overrides`` choose.

    With ``asked``, words such as algo.tau, show the lines of these keys alone.
    """
    from droq_exp.config import own_parts
    from droq_exp.config.help import help_on, help_text
    from droq_exp.config.overrides import parse, search_path

    if asked:
        print(help_on(asked, own_parts(overrides)))
        return
    print(help_text(parser, own_parts(overrides), search_path(parse(overrides))))


def refuse(problem: str) -> NoReturn:
    """Say in one line why the command is refused, and exit with code 2; of a path without end the ends are shown."""
    words = (word if len(word) <= LONGEST_WORD else f"{word[:50]}...{word[-50:]}" for word in problem.split(" "))
    print(f"error: {' '.join(words)}", file=sys.stderr)
    sys.exit(2)


def check_working_directory() -> None:
    """Refuse to work in a directory that has been deleted: relative paths mean nothing there, and torch aborts."""
    try:
        os.getcwd()
    except FileNotFoundError:
        refuse("the working directory has been deleted; cd to one that is there")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        keys = "; keys are typed as key=value" if message.startswith("unrecognized") else ""
        refuse(f"{message}{keys}; see --help")


class _Elsewhere(argparse.Action):
    """A flag of other programs or of Hydra itself, so that no part of it is read as another one."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, values: object, flag: str | None = None) -> NoReturn:
        name, way = FLAGS[str(flag)]
        refuse(f"{name}: no flag of this program; {way}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="launch.py", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="choices and values, as below")
    parser.add_argument(
        "-h", "--help", action="store_true", help="show this text; with words, such as algo.tau, these keys"
    )
    parser.add_argument("-m", "--multirun", action="store_true", help="a sweep: one run for each value of a,b,c")
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"], help="print the configuration and run nothing")
    parser.add_argument("-p", "--package", help="with --cfg: print only this part")
    parser.add_argument(
        "--resolve", action="store_true", help="with --cfg hydra or all: resolve values (job always does)"
    )
    parser.add_argument("-cd", "--config-dir", help="a directory with further choices (experiment/mine.yaml, ...)")
    parser.add_argument(
        "-i",
        "--info",
        nargs="?",
        const="all",
        choices=["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"],
        help="show how Hydra composes the configuration",
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="allow targets and tasks from this package (SECURITY.md)",
    )
    parser.add_argument("--hydra-help", action="store_true", help="show Hydra's own help")
    parser.add_argument(
        "--version", action="version", version=f"droq_exp {__version__}", help="show this project's version"
    )
    for flag in FLAGS:
        parser.add_argument(flag, nargs="?", action=_Elsewhere, dest="_", help=argparse.SUPPRESS)
    return parser


def _run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    from droq_exp.config import check_hydra_choices, chooses_sweeper, compose, compose_points, plain, sweep_points
    from droq_exp.learner.native import early_build

    if args.multirun and (args.cfg or args.info):
        refuse("--multirun cannot be combined with --cfg or --info; `droq-exp plan` shows a sweep's runs; see --help")
    if (args.package or args.resolve) and not args.cfg:
        refuse("--package and --resolve need --cfg; see --help")
    _checked.clear()
    if args.hydra_help:
        _hydra_main(["--hydra-help"])
    elif args.multirun:
        if chooses_sweeper(overrides):  # it makes points itself: each is checked when it is made
            check_hydra_choices(overrides)
            _hydra_main(["--multirun", *plain(overrides)])
            return
        lines = sweep_points(overrides)
        points = compose_points(lines)
        _checked.update(zip(map(_of_run, lines), points, strict=True))
        configs = [config for config, _ in points]
        check_sweep(configs, overrides)
        _check_directories([point for point in points if point[0].hardware.launcher == "here"])
        for config in configs:
            early_build.begin(config)
        _hydra_main(["--multirun", *plain(overrides)])
        places = " ".join(sorted(set(map(_experiment, configs))))
        print(f"next: droq-exp status {places}; droq-exp report {places}", file=sys.stderr)
    else:
        config, _ = _checked[_of_run(plain(overrides))] = compose(overrides)
        if args.cfg == "job":
            _print(config, args.package)
        elif args.cfg or args.info:
            package = ["--package", args.package] if args.package else []
            resolve = ["--resolve"] if args.resolve else []
            shown = ["--cfg", args.cfg, *package, *resolve] if args.cfg else ["--info", args.info]
            _hydra_main([*shown, *plain(overrides)])
        else:
            check_output_dirs({config.output_dir})
            check_memory([config])
            early_build.begin(config)
            _hydra_main(plain(overrides))


def with_config_dir(overrides: Sequence[str], directory: str | os.PathLike[str] | None) -> list[str]:
    """``overrides`` that also find the choices in ``directory``, as by --config-dir.

    Raises:
        ConfigError: it is none.
    """
    from droq_exp.config import ConfigError
    from droq_exp.config.overrides import quoted

    if directory is None:
        return list(overrides)
    if not Path(directory).is_dir():
        raise ConfigError("--config-dir", f"{directory} is not a directory")
    return [f"hydra.searchpath=[{quoted(f'file://{Path(directory).resolve()}')}]", *overrides]


def named_by_user(overrides: Sequence[str], directory: str | os.PathLike[str] | None) -> list[str]:
    """What a training command may build since its user names it: as typed, and in the directory of --config-dir.

    Raises:
        ConfigError: an override that cannot be read.
    """
    from droq_exp.config import targets_of_directory, task_modules, typed_targets

    own = [] if directory is None else targets_of_directory(directory)
    return [*task_modules(overrides), *typed_targets(overrides), *own]


def check_sweep(configs: Sequence[Config], overrides: Sequence[str]) -> None:
    """Refuse what no sweep of these ``configs`` can do: see ``check_output_dirs`` and the like.

    Raises:
        ConfigError: which of it.
    """
    kinds = {(config.output_dir, config.hardware.launcher) for config in configs}
    check_output_dirs({output_dir for output_dir, _ in kinds})
    _check_launcher({launcher for _, launcher in kinds}, overrides)
    check_memory(configs)


def check_memory(configs: Sequence[Config]) -> None:
    """Refuse processes that fill more memory with transitions, side by side, than this machine has.

    Raises:
        ConfigError: how much it would be.
    """
    from droq_exp.config import ConfigError
    from droq_exp.config.schema import ParallelHardwareConfig
    from droq_exp.config.task import dimensions
    from droq_exp.cpu import machine_memory

    hardware, memory = configs[0].hardware, machine_memory()
    if not isinstance(hardware, ParallelHardwareConfig):
        return
    sizes = [(*dimensions(each.env), min(each.training.replay_size, each.training.total_steps)) for each in configs]
    at_once = hardware.jobs * hardware.seeds_per_job
    # A row has less than 3 * (obs + act) numbers.
    if 12 * at_once * max((obs + act) * rows for obs, act, rows in sizes) < memory:
        return
    from droq_exp.learner.transitions import TransitionLayout  # here, since it imports torch

    seeds = [
        4 * rows * TransitionLayout(obs, act).size
        for each, (obs, act, rows) in zip(configs, sizes, strict=True)
        for _ in each.seeds
    ]
    needed = sum(sorted(seeds)[-at_once:])
    if needed > memory:
        have = f"{needed / 2**30:,.0f} GB with transitions, and this machine has {memory / 2**30:,.0f} GB"
        ways = "fewer hardware.jobs or hardware.seeds_per_job, or a smaller training.replay_size, need less"
        raise ConfigError("hardware.jobs", f"the processes that run at once fill {have}; {ways}")


def _check_directories(points: Iterable[tuple[Config, Config]]) -> None:
    """Refuse, before the first point trains, a directory that holds another run, or one of other code."""
    from droq_exp.runs.identity import run_directory
    from droq_exp.runs.takeover import check_directory

    for config, recipe in points:
        for seed in config.seeds:
            check_directory(run_directory(config, recipe, seed), config)


def check_output_dirs(directories: set[str]) -> None:
    """Refuse directories in which no run's own can be made; here and not in ``compose``, since --cfg writes nothing.

    Raises:
        ConfigError: which, and why.
    """
    from droq_exp.config import ConfigError

    for name in directories:
        directory = Path(name).absolute()
        if name.startswith("~"):
            home = os.path.expanduser(name)
            raise ConfigError("output_dir", f"{name}: the shell did not expand it", home if home != name else None)
        if "${" in str(directory) or not str(directory).isprintable():
            raise ConfigError("output_dir", f"{str(directory)!a}: its path may hold no ${{ and nothing unprintable")
        try:
            existing = next(place for place in (directory, *directory.parents) if place.exists())
        except OSError as error:  # a name that is too long, say
            raise ConfigError("output_dir", f"{name}: {error.strerror}") from error
        if not existing.is_dir():
            raise ConfigError("output_dir", f"{name} cannot be created: {existing} is not a directory")
        try:
            _try(existing)
        except OSError as error:
            raise ConfigError("output_dir", f"{name} cannot be written: {error.strerror} in {existing}") from error


def _try(directory: Path) -> None:
    """Make something in ``directory`` and leave no trace; OSError where that does not work.

    Only who tries knows: of permissions, of file systems that take nothing, of /proc.
    """
    before = directory.stat()
    probe = directory / f".droq_exp.{uuid.uuid4().hex}.tmp"
    probe.mkdir()
    probe.rmdir()
    with suppress(PermissionError):  # another user's, in which we may write
        os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))


def _check_launcher(launchers: set[str], overrides: Sequence[str]) -> None:
    """Refuse what would train jobs' runs here, or two ways at once."""
    from droq_exp.config import ConfigError

    if len(launchers) > 1:
        raise ConfigError(
            "hardware", "one sweep cannot mix runs here, by SLURM and in parallel; give each its own command"
        )
    if launchers != {"here"} and any(line.startswith("hydra/launcher=") for line in overrides):
        raise ConfigError("hydra/launcher", "the choice of hardware decides how these runs are launched")


def _print(config: Config, package: str | None) -> None:
    from omegaconf import OmegaConf

    values = OmegaConf.create(dataclasses.asdict(config))
    part = values if package in (None, "_global_") else OmegaConf.select(values, str(package))
    if part is None:
        refuse(f"--package: this configuration has no {package}")
    print(OmegaConf.to_yaml(part).rstrip() if OmegaConf.is_config(part) else str(part))


def _hydra_main(arguments: list[str]) -> None:
    """Enter Hydra with ``arguments``, which have been checked: hydra.main reads them from ``sys.argv`` alone."""
    import hydra

    from droq_exp.config.composition import VERSION_BASE
    from droq_exp.config.defaults import register
    from droq_exp.config.files import conf_directory

    register()

    held, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        hydra.main(version_base=VERSION_BASE, config_path=str(conf_directory()), config_name="config")(run_point)()
    finally:
        sys.argv = held


def run_point(composed: DictConfig) -> float | None:
    """Hydra's task function: train one point of what was asked for, on whatever machine the launcher chose.

    Returns:
        Within a sweep the score of the point (``objective``), for Hydra's sweeper; None where nothing was evaluated. A
        run on its own exits with its code, and so does a sweep that is interrupted or whose sweeper has invented a
        point that no run can be.

    Raises:
        PointFailedError: a point of a sweep failed; why has been told.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from droq_exp.config import ConfigError, readable
    from droq_exp.runs.identity import run_directory

    job = HydraConfig.get()
    search = [line for line in job.overrides.hydra if line.startswith("hydra.searchpath")]
    overrides = [*search, *job.overrides.task]
    try:
        config, recipe = composed_point(overrides)
    except ConfigError as error:
        refuse(str(error))
    if config.hardware.launcher != "here":
        from droq_exp.jobs.launch import launch

        sys.exit(launch([overrides], [(config, recipe)])[0])
    sweep = job.mode is RunMode.MULTIRUN
    if sweep:
        print(f"[{job.job.num + 1}] {readable(job.overrides.task)}", flush=True)
    code = train_point(config, recipe, overrides)
    if not code and not sweep:
        directory = shlex.quote(str(run_directory(config, recipe, config.seeds[0])))
        print(f"next: droq-exp play {directory}; droq-exp report {_experiment(config)}", file=sys.stderr)
    if code in INTERRUPTED or not sweep:
        sys.exit(code)
    if code:
        raise PointFailedError(readable(job.overrides.task))
    return point_score(config, recipe)


def _experiment(config: Config) -> str:
    """The folder of all runs of this name, as one would type it."""
    return shlex.quote(os.path.join(config.output_dir, str(config.experiment_name)))


def point_score(config: Config, recipe: Config) -> float | None:
    """As ``score``; raises PointFailedError where a file is damaged, which is told."""
    from droq_exp.runs.files import DamagedError
    from droq_exp.runs.score import score

    try:
        return score(config, recipe)
    except DamagedError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise PointFailedError(str(error)) from error


def composed_point(overrides: Sequence[str]) -> tuple[Config, Config]:
    """What ``overrides`` compose, once: what was checked is what runs. What a sweeper has invented is checked now.

    Raises:
        ConfigError: as ``compose``.
    """
    from droq_exp.config import compose

    run = _of_run(overrides)
    if run not in _checked:
        _checked[run] = compose(overrides)
    return _checked[run]


def _of_run(overrides: Sequence[str]) -> tuple[str, ...]:
    """The plain ``overrides`` of a point that say what its run is, in Hydra's order: its own come first."""
    search = [line for line in overrides if line.startswith("hydra.searchpath")]
    return (*search, *(line for line in overrides if not line.startswith("hydra")))


def train_point(config: Config, recipe: Config, overrides: Sequence[str]) -> int:
    """Train in this process; what ends it is shown now, not after a sweep's other points. Returns the exit code."""
    from droq_exp.config import ConfigError
    from droq_exp.runs.files import DamagedError
    from droq_exp.runs.lock import HeldError
    from droq_exp.training.train import train  # here, since it imports torch

    try:
        return train(config, recipe, overrides)
    except (ConfigError, DamagedError, HeldError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2 if isinstance(error, ConfigError | DamagedError) else 1
    except Exception:
        traceback.print_exc()
        return 1
