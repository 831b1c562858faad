"""``droq-exp <command>``: the commands and their options; each is imported when it runs, so that --help is quick."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from droq_exp import __version__
from droq_exp.cli.errors import RefusedError
from droq_exp.exits import SignalExit
from droq_exp.launch.arguments import check_working_directory, named_by_user, refuse, refuse_name, with_config_dir
from droq_exp.streams import prepare_streams

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Plan, follow, retry, cancel and report sweeps; inspect trained runs.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Directory = Annotated[Path, typer.Argument(help="outputs, or any directory below it", metavar="DIRECTORY")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="as for launch.py -m: experiment=..., hardware=..., ...", metavar="KEY=VALUE"),
]
ConfigDir = Annotated[
    str | None, typer.Option("--config-dir", "-cd", help="A directory with further choices, as for launch.py.")
]
RunDirectory = Annotated[
    Path, typer.Argument(help="the directory of one seed: outputs/.../seed_0", metavar="RUN_DIRECTORY")
]
PlaySeed = Annotated[int, typer.Option(min=0, help="Seed of the resets; equal seeds give equal episodes.")]
Trust = Annotated[
    list[str] | None,
    typer.Option("--trust", help="Allow targets and tasks from this package (SECURITY.md).", metavar="PACKAGE"),
]
Stochastic = Annotated[bool, typer.Option("--stochastic", help="Sample actions instead of taking tanh(mean).")]

ELSEWHERE = dict.fromkeys(("train", "run"), "droq-exp-train trains") | {"help": "droq-exp --help helps"}


def main(argv: list[str] | None = None) -> None:
    """Run ``droq-exp <argv>`` (None: this process's arguments).

    Raises:
        SystemExit: 0 done; 1 a run that ``retry`` waited for did not finish; 2 the command is wrong, or the queue does
            not answer, told in one line; 130 or 143 interrupted.
    """
    from droq_exp.jobs.queue import QueueUnreachableError
    from droq_exp.runs.files import DamagedError

    prepare_streams()
    check_working_directory()
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        code = app(args=argv, prog_name="droq-exp", standalone_mode=False)
    except typer.TyperException as error:
        command = context.command_path if (context := getattr(error, "ctx", None)) else "droq-exp"
        way = ELSEWHERE.get(next(iter(sys.argv[1:] if argv is None else argv), ""), f"see {command} --help")
        refuse(f"{error.format_message().rstrip('.')}; {way}")
    except (RefusedError, QueueUnreachableError, DamagedError) as error:
        refuse(str(error))
    except OSError as error:
        refuse_name(error)
    except ValueError as error:
        from droq_exp.config import ConfigError  # imports Hydra, which takes long

        if isinstance(error, ConfigError):
            refuse(str(error))
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(code)


def _leave(number: int, _: object) -> None:
    """Take back what is half made, as after Ctrl-C."""
    raise SignalExit(128 + number)


def _version(asked: bool) -> None:
    if asked:
        print(f"droq_exp {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="This project's version.")
    ] = False,
) -> None:
    pass


@app.command()
def plan(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    trust: Trust = None,
) -> None:
    """Show what launch.py -m would do with these overrides; start and write nothing."""
    from droq_exp.cli.plan import plan as show_plan
    from droq_exp.config.targets import trusting

    with trusting(trust or []):
        show_plan(with_config_dir(overrides or [], config_dir))


@app.command()
def tune(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="as for launch.py, and what is searched: 'key=log(a,b)', range(a,b), choice(a,b,...)",
            metavar="KEY=VALUE",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all; raising it continues.")] = 20,
    parallel: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at a time; default: hardware.jobs with cpu_parallel, else 1."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each trial, from 0 on.")] = 1,
    score: Annotated[
        Literal["mean", "iqm"], typer.Option(help="A trial's value, of its seeds' scores (the key objective).")
    ] = "mean",
    prune: Annotated[
        bool, typer.Option("--prune", help="End trials early that are worth less than the median.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler: another one is another search.")] = 0,
    config_dir: ConfigDir = None,
    trust: Trust = None,
) -> None:
    """Search good values of some keys by Optuna, with runs as trials; the same command continues."""
    from droq_exp.cli.tune import tune as tune_keys
    from droq_exp.config.targets import trusting
    from droq_exp.import_path import looking_in
    from droq_exp.tune.search import Options
    from droq_exp.tune.space import without_terms

    lines = with_config_dir(overrides or [], config_dir)
    own = named_by_user(without_terms(lines), config_dir)  # it trains, as launch.py does
    with looking_in([os.getcwd()]), trusting(trust or []), trusting(own):
        tune_keys(lines, Options(seeds, score, prune, seed), trials, parallel)


@app.command()
def status(
    directory: Directory,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until nothing is queued or running.")] = False,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between refreshes, with --watch.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all fields of all runs, for programs.")] = False,
) -> None:
    """Show the runs below a directory: state, step, last return, time left, and what went wrong."""
    from droq_exp.cli.status import show

    if watch and as_json:
        refuse("--watch and --json cannot be combined; see droq-exp --help")
    show(directory, interval if watch else None, as_json)


@app.command()
def retry(directory: Directory, trust: Trust = None) -> None:
    """Rerun, from its checkpoint, what failed, was interrupted or vanished below a directory, and nothing else."""
    from droq_exp.cli.retry import retry as retry_runs
    from droq_exp.config.targets import trusting
    from droq_exp.import_path import looking_in

    # What was typed for a run was found in the working directory. Here it is another one perhaps, and somebody else's:
    # only who trusts something by name has it looked at.
    with trusting(trust or []), looking_in([os.getcwd()] if trust else []):
        retry_runs(directory)


@app.command()
def cancel(
    directory: Directory,
    whole_jobs: Annotated[
        bool, typer.Option("--whole-jobs", help="End jobs even if they also train runs outside the directory.")
    ] = False,
) -> None:
    """End the queued and running jobs of the runs below a directory; they can be retried later."""
    from droq_exp.cli.cancel import cancel as cancel_runs

    cancel_runs(directory, whole_jobs)


@app.command()
def report(
    directories: Annotated[list[Path], typer.Argument(help="outputs, or directories below it", metavar="DIRECTORY...")],
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Compare the directories, paired per environment, instead of pooling them."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="Where to write; default: report/ in the first directory.")
    ] = None,
) -> None:
    """Write a page, figures and tables of the runs below directories, and say what is missing."""
    from droq_exp.cli.report import report as write_report

    write_report(directories, compare, output)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="outputs, or any directory below it", metavar="A")],
    second: Annotated[Path, typer.Argument(help="another one", metavar="B")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers, for programs.")] = False,
) -> None:
    """Compare the runs below two directories by task and seed: returns, intervals, probability that B is better."""
    from droq_exp.cli.compare import compare as compare_runs

    compare_runs(first, second, as_json)


@app.command()
def evaluate(
    run_directory: RunDirectory,
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = 100,
    seed: PlaySeed = 0,
    stochastic: Stochastic = False,
    output: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.", metavar="FILE")] = None,
    trust: Trust = None,
) -> None:
    """Evaluate a run's stored weights on fresh, seeded episodes and print JSON. The run is left unchanged."""
    from droq_exp.cli.evaluate import evaluate as evaluate_run
    from droq_exp.config.targets import trusting

    with trusting(trust or []):
        evaluate_run(run_directory, episodes, seed, stochastic, output)


@app.command()
def play(
    run_directory: RunDirectory,
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = 1,
    seed: PlaySeed = 0,
    stochastic: Stochastic = False,
    video: Annotated[Path | None, typer.Option(help="Write a video to this .mp4 or .gif file.", metavar="FILE")] = None,
    window: Annotated[bool, typer.Option("--window", help="Show the episodes in a window.")] = False,
    width: Annotated[int | None, typer.Option(min=16, max=4096, help="In pixels; MuJoCo tasks only.")] = None,
    height: Annotated[int | None, typer.Option(min=16, max=4096, help="In pixels; MuJoCo tasks only.")] = None,
    fps: Annotated[float | None, typer.Option(min=1, max=1000, help="Frames a second; default: real time.")] = None,
    camera: Annotated[str | None, typer.Option(help="Camera by name or number; MuJoCo tasks only.")] = None,
    trust: Trust = None,
) -> None:
    """Play a run's policy and print return and length of each episode; optionally write a video or open a window."""
    from droq_exp.cli.play import Picture
    from droq_exp.cli.play import play as play_run
    from droq_exp.config.targets import trusting

    with trusting(trust or []):
        play_run(run_directory, episodes, seed, stochastic, Picture(video, window, width, height, fps, camera))


@app.command()
def export(
    run_directory: RunDirectory,
    onnx: Annotated[Path | None, typer.Option(help="Write a graph that acts by itself.", metavar="FILE")] = None,
    safetensors: Annotated[
        Path | None, typer.Option(help="Write the policy's tensors, by name.", metavar="FILE")
    ] = None,
    trust: Trust = None,
) -> None:
    """Export a run's deterministic policy to ONNX or safetensors, compared with it, and print how to load it."""
    from droq_exp.cli.export import export as export_policy
    from droq_exp.config.targets import trusting

    with trusting(trust or []):
        export_policy(run_directory, onnx, safetensors)


@app.command()
def profile(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    all_cells: Annotated[bool, typer.Option("--all", help="Every algorithm on every environment.")] = False,
    steps: Annotated[int, typer.Option(min=1, help="Timed environment steps per cell.")] = 20,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write JSON to this file.", metavar="FILE")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    trust: Trust = None,
) -> None:
    """Measure what training costs on this machine: time per loop and per Q-function update, parameters, peak memory."""
    from droq_exp.cli.profile import profile as profile_cells
    from droq_exp.config.targets import trusting

    lines = with_config_dir(overrides or [], config_dir)
    with trusting(trust or []), trusting(named_by_user(lines, config_dir)):  # it trains, as launch.py does
        profile_cells(lines, all_cells, steps, json_file, markdown)


@app.command()
def sync(
    directory: Directory,
    project: Annotated[str | None, typer.Option(help="Upload to this project, not the configured one.")] = None,
    entity: Annotated[str | None, typer.Option(help="Upload to this entity, not the configured one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be uploaded.")] = False,
    time_limit: Annotated[float, typer.Option(min=1, help="Maximum seconds for the upload of one run.")] = 600.0,
) -> None:
    """Upload what wandb kept offline below a directory and has not been uploaded yet."""
    from droq_exp.cli.sync import sync as sync_runs

    sync_runs(directory, project, entity, dry_run, time_limit)


@app.command()
def workspace(
    project: Annotated[str, typer.Option(help="The wandb project, as in logger.wandb.project.")] = "droq_exp",
    entity: Annotated[str, typer.Option(help="The user or team that owns the project.")] = "",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Only write the layout to this file; use no network.", metavar="FILE")
    ] = None,
) -> None:
    """Lay out a wandb project: return, bias, losses and throughput, with one line for all seeds of a run."""
    from droq_exp.cli.workspace import workspace as save_workspace

    save_workspace(entity, project, json_file)


@app.command()
def tasks(
    word: Annotated[str | None, typer.Argument(help="only those with this in their ids", metavar="WORD")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them for programs.")] = False,
) -> None:
    """List tasks that are installed and can be learned: id, sizes of observation and action, steps of an episode."""
    from droq_exp.cli.tasks import tasks as list_tasks

    list_tasks(word, as_json)


@app.command()
def doctor(
    directory: Annotated[Path, typer.Argument(help="where runs are to be written", metavar="[DIRECTORY]")] = Path(
        "outputs"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
) -> None:
    """Say what this machine has of what runs use, and what to do about the rest; 1 where training does not work."""
    from droq_exp.cli.doctor import doctor as examine

    raise typer.Exit(examine(directory, as_json))


@app.command()
def build() -> None:
    """Compile the C++ for this kind of CPU now, so that machines without a compiler find it in your home directory."""
    from droq_exp.cli.build import build as build_libraries

    build_libraries()


if __name__ == "__main__":
    main()
