"""The command line: check every point of what is asked for, then let Hydra run the points."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from droq_exp.import_path import looking_in
from droq_exp.launch.arguments import (
    check_working_directory,
    named_by_user,
    new_parser,
    refuse,
    refuse_name,
    with_config_dir,
)
from droq_exp.launch.checks import check_directories, check_memory, check_output_dirs, check_sweep
from droq_exp.launch.points import experiment_folder, forget, has_begun, remember, run_point
from droq_exp.streams import prepare_streams

if TYPE_CHECKING:
    from droq_exp.config import Config


def main(argv: list[str] | None = None) -> None:
    """Run ``python launch.py <argv>``.

    Args:
        argv: the arguments without the program's name; None: those of this process.

    Raises:
        SystemExit: 0 done; 1 a run failed; 2 the command is wrong, told in one line; 129, 130 or 143 interrupted.
    """
    prepare_streams()
    arguments = sys.argv[1:] if argv is None else argv
    parser = new_parser()
    args = parser.parse_intermixed_args(arguments)
    check_working_directory()
    try:
        with looking_in([os.getcwd()]):  # a user's own parts are there
            _main(parser, args)
    except KeyboardInterrupt:
        print("interrupted while nothing trained; run the same command again", file=sys.stderr)
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
    except OSError as error:
        refuse_name(error)


def _help_with_parts(parser: argparse.ArgumentParser, overrides: Sequence[str], asked: Sequence[str]) -> None:
    """Show the help with the user's own choices, and the keys of the parts that ``overrides`` choose.

    With ``asked``, words such as algo.tau, show the lines of these keys alone.
    """
    from droq_exp.config import compose, own_parts
    from droq_exp.config.help import help_on, help_text
    from droq_exp.config.overrides import parse, search_path

    if asked:

        def entries() -> dict[str, dict[str, Any]]:
            config, _ = compose(overrides)
            groups = {"logger": config.logger, "callbacks": config.callbacks}
            return {f"{group}.{name}": block for group, blocks in groups.items() for name, block in blocks.items()}

        print(help_on(asked, own_parts(overrides), entries))
        return
    print(help_text(parser, own_parts(overrides), search_path(parse(overrides))))


def _run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    from droq_exp.config import check_hydra_choices, chooses_sweeper, compose, compose_points, plain, sweep_points
    from droq_exp.learner.native import early_build

    if args.multirun and (args.cfg or args.info):
        refuse("--multirun cannot be combined with --cfg or --info; `droq-exp plan` shows a sweep's runs; see --help")
    if (args.package or args.resolve) and not args.cfg:
        refuse("--package and --resolve need --cfg; see --help")
    forget()
    if args.hydra_help:
        _hydra_main(["--hydra-help"])
    elif args.multirun:
        if chooses_sweeper(overrides):  # it makes points itself: each is checked when it is made
            check_hydra_choices(overrides)
            _hydra_main(["--multirun", *plain(overrides)])
            return
        lines = sweep_points(overrides)
        points = compose_points(lines)
        for line, point in zip(lines, points, strict=True):
            remember(line, point)
        configs = [config for config, _ in points]
        check_sweep(configs, overrides)
        check_directories([point for point in points if point[0].hardware.launcher == "here"])
        for config in configs:
            early_build.begin(config)
        places = " ".join(sorted(set(map(experiment_folder, configs))))
        try:
            _hydra_main(["--multirun", *plain(overrides)])
        except SystemExit as leaving:
            if leaving.code == 1 and any(map(has_begun, points)):
                print(f"next: droq-exp status {places}\n      droq-exp retry {places}", file=sys.stderr)
            raise
        print(f"next: droq-exp status {places}\n      droq-exp report {places}", file=sys.stderr)
    else:
        point = compose(overrides)
        remember(plain(overrides), point)
        config, _ = point
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
