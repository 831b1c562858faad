"""``droq-exp <command>``: the commands and their options; each is imported when it runs, so that --help is quick."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from droq_exp import __version__
from droq_exp.cli.errors import RefusedError
from droq_exp.launch import refuse, with_config_dir

app = typer.Typer(
    help="What a sweep would do, how far it is, what to do about what failed, and what came of it.",
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
RunDirectory = Annotated[Path, typer.Argument(help="of one seed: outputs/.../seed_0", metavar="RUN_DIRECTORY")]
PlaySeed = Annotated[int, typer.Option(min=0, help="Of the episodes' resets: equal seeds, equal episodes.")]
Trust = Annotated[
    list[str] | None,
    typer.Option("--trust", help="Build and import what this package has.", metavar="PACKAGE"),
]
Stochastic = Annotated[bool, typer.Option("--stochastic", help="Sample the policy's actions, not their mode.")]


def main(argv: list[str] | None = None) -> None:
    """Run ``droq-exp <argv>`` (None: this process's arguments).

    Raises:
        SystemExit: 0 done; 1 a run that ``retry`` waited for did not finish; 2 the command is wrong, or the queue does
            not answer, told in one line; 130 or 143 interrupted.
    """
    from droq_exp.jobs.queue import QueueUnreachableError

    before = signal.signal(signal.SIGTERM, _leave)
    try:
        code = app(args=argv, prog_name="droq-exp", standalone_mode=False)
    except typer.TyperException as error:
        refuse(f"{error.format_message().rstrip('.')}; see droq-exp --help")
    except (RefusedError, QueueUnreachableError) as error:
        refuse(str(error))
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
    sys.exit(128 + number)


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
) -> None:
    """Show what launch.py -m would do with the same overrides; nothing is started or written."""
    from droq_exp.cli.plan import plan as show_plan

    show_plan(with_config_dir(overrides or [], config_dir))


@app.command()
def status(
    directory: Directory,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again and again, until nothing is under way.")] = False,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between two looks, with --watch.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: all fields of all runs.")] = False,
) -> None:
    """Show the runs below a directory: their state, step, last return, time left, and what went wrong."""
    from droq_exp.cli.status import show

    if watch and as_json:
        refuse("--watch does not go with --json; see droq-exp --help")
    show(directory, interval if watch else None, as_json)


@app.command()
def retry(directory: Directory, trust: Trust = None) -> None:
    """Run again what failed, was interrupted or vanished below a directory, from its checkpoint, and nothing else."""
    from droq_exp.cli.retry import retry as retry_runs
    from droq_exp.config.targets import trust as trust_packages

    trust_packages(trust or [])
    retry_runs(directory)


@app.command()
def cancel(
    directory: Directory,
    whole_jobs: Annotated[
        bool, typer.Option("--whole-jobs", help="Also where a job trains runs outside the directory too.")
    ] = False,
) -> None:
    """End the queued and running jobs of the runs below a directory; they can be retried later."""
    from droq_exp.cli.cancel import cancel as cancel_runs

    cancel_runs(directory, whole_jobs)


@app.command()
def report(
    directories: Annotated[list[Path], typer.Argument(help="outputs, or directories below it", metavar="DIRECTORY...")],
    compare: Annotated[
        bool, typer.Option("--compare", help="Side by side, paired per environment, instead of all together.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="Where to; report/ in the first directory otherwise.")
    ] = None,
) -> None:
    """Write a page, figures and tables of the runs below directories, and say what is missing."""
    from droq_exp.cli.report import report as write_report

    write_report(directories, compare, output)


@app.command()
def evaluate(
    run_directory: RunDirectory,
    episodes: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    seed: PlaySeed = 0,
    stochastic: Stochastic = False,
    output: Annotated[Path | None, typer.Option(help="Write the JSON there too.", metavar="FILE")] = None,
    trust: Trust = None,
) -> None:
    """Evaluate a run's stored weights anew, on fresh seeded episodes; prints JSON. The run is left as it is."""
    from droq_exp.cli.evaluate import evaluate as evaluate_run
    from droq_exp.config.targets import trust as trust_packages

    trust_packages(trust or [])
    evaluate_run(run_directory, episodes, seed, stochastic, output)


@app.command()
def play(
    run_directory: RunDirectory,
    episodes: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    seed: PlaySeed = 0,
    stochastic: Stochastic = False,
    video: Annotated[Path | None, typer.Option(help="Write this .mp4 or .gif.", metavar="FILE")] = None,
    window: Annotated[bool, typer.Option("--window", help="Show it in a window.")] = False,
    width: Annotated[int | None, typer.Option(min=16, max=4096, help="Pixels, of MuJoCo's pictures.")] = None,
    height: Annotated[int | None, typer.Option(min=16, max=4096, help="Likewise.")] = None,
    fps: Annotated[float | None, typer.Option(min=1, max=1000, help="Of the video; default: real time.")] = None,
    camera: Annotated[str | None, typer.Option(help="Name or number of a camera, of MuJoCo's tasks.")] = None,
    trust: Trust = None,
) -> None:
    """Play a run's policy: return and length of each episode, as a video or in a window where asked."""
    from droq_exp.cli.play import Picture
    from droq_exp.cli.play import play as play_run
    from droq_exp.config.targets import trust as trust_packages

    trust_packages(trust or [])
    play_run(run_directory, episodes, seed, stochastic, Picture(video, window, width, height, fps, camera))


@app.command()
def profile(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    all_cells: Annotated[bool, typer.Option("--all", help="Every algorithm on every environment.")] = False,
    steps: Annotated[int, typer.Option(min=1, help="Timed environment steps of each.")] = 20,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write it there as JSON.", metavar="FILE")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Measure what training costs here: time per loop and per Q-function update, parameters, peak memory."""
    from droq_exp.cli.profile import profile as profile_cells

    profile_cells(with_config_dir(overrides or [], config_dir), all_cells, steps, json_file, markdown)


@app.command()
def sync(
    directory: Directory,
    project: Annotated[str | None, typer.Option(help="Upload there, whatever the run's configuration says.")] = None,
    entity: Annotated[str | None, typer.Option(help="Likewise.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be uploaded.")] = False,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds that the upload of one run may take.")] = 600.0,
) -> None:
    """Upload what wandb kept offline below a directory and is not uploaded yet."""
    from droq_exp.cli.sync import sync as sync_runs

    sync_runs(directory, project, entity, dry_run, time_limit)


@app.command()
def workspace(
    project: Annotated[str, typer.Option(help="wandb's project, as in logger.wandb.project.")] = "droq_exp",
    entity: Annotated[str, typer.Option(help="User or team that has the project.")] = "",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the layout there; touches no network.", metavar="FILE")
    ] = None,
) -> None:
    """Lay out a wandb project: return, bias, losses, throughput, one line for the seeds of a run."""
    from droq_exp.cli.workspace import workspace as save_workspace

    save_workspace(entity, project, json_file)


@app.command()
def build() -> None:
    """Compile the C++ for this kind of CPU now, so that machines without a compiler find it in your home directory."""
    from droq_exp.cli.build import build as build_libraries

    build_libraries()
