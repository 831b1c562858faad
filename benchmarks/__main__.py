"""``python -m benchmarks <what>``: what can be measured, and its options; each is imported when it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from droq_exp.cli.errors import RefusedError
from droq_exp.config import Config, ConfigError, compose, compose_points, sweep_points
from droq_exp.config.errors import nearest
from droq_exp.launch.arguments import refuse

if TYPE_CHECKING:
    from droq_exp.report.table import Table

app = typer.Typer(
    help="Measure how fast this project is on this machine. Overrides are those of launch.py; the last line printed is "
    "JSON.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Overrides = Annotated[list[str] | None, typer.Argument(help="as for launch.py", metavar="KEY=VALUE")]
Sweep = Annotated[
    list[str] | None, typer.Argument(help="as for launch.py; a,b,c: one after another", metavar="KEY=VALUE")
]
Steps = Annotated[int, typer.Option(min=1, help="Timed environment steps.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown, and no JSON.")]
Result = dict[str, Any]


def main(argv: list[str] | None = None) -> None:
    """Run ``python -m benchmarks <argv>`` (None: this process's arguments).

    Raises:
        SystemExit: 0 done; 1 what was measured failed; 2 the command is wrong. Both are told in one line.

    """
    try:
        code = app(args=argv, prog_name="python -m benchmarks", standalone_mode=False)
    except typer.TyperException as error:
        refuse(f"{error.format_message().rstrip('.')}; see --help")
    except (RefusedError, ConfigError) as error:
        refuse(str(error))
    except (RuntimeError, ChildProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(code)


@app.command()
def learner(overrides: Sweep = None, steps: Steps = 40, markdown: Markdown = False) -> None:
    """Time the updates of one environment step, against their matrix multiplications alone."""
    from benchmarks.learner import benchmark_learner
    from benchmarks.tables import learner_tables

    results = _each(overrides, lambda config, _: benchmark_learner(config, steps))
    _show(results, learner_tables(results), markdown)


@app.command()
def loop(
    overrides: Sweep = None,
    steps: Annotated[int, typer.Option(min=6, help="Timed environment steps.")] = 300,
    markdown: Markdown = False,
) -> None:
    """Time the whole training loop: the learner, and what acting, the environment, logging, evaluating, saving add."""
    from benchmarks.loop import benchmark_loop
    from benchmarks.tables import loop_tables

    results = _each(overrides, lambda config, recipe: benchmark_loop(config, recipe, steps))
    _show(results, loop_tables(results), markdown)


@app.command()
def seeds(
    overrides: Sweep = None,
    counts: Annotated[
        str, typer.Option("--seeds", help="Numbers of seeds to train together.", metavar="N,...")
    ] = "1,2,4,8",
    steps: Steps = 20,
    markdown: Markdown = False,
) -> None:
    """Time the updates of several seeds trained together, for each number of seeds in turn."""
    from benchmarks.seeds import benchmark_seeds
    from benchmarks.tables import seeds_tables

    sizes = _counts(counts)
    results = _each(overrides, lambda config, _: benchmark_seeds(config, sizes, steps))
    _show(results, seeds_tables(results), markdown)


@app.command()
def growth(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="utd, critics, batch, hidden, seeds, replay (default: all); as for launch.py",
            metavar="[AXIS] [KEY=VALUE]",
        ),
    ] = None,
    steps: Steps = 10,
    markdown: Markdown = False,
) -> None:
    """Time the updates as the UTD ratio, the critics, the batch, the layers, the seeds or the replay grow."""
    from benchmarks.growth import AXES, benchmark_growth, points
    from benchmarks.tables import growth_tables

    names = [argument for argument in arguments or [] if "=" not in argument]
    overrides = [argument for argument in arguments or [] if "=" in argument]
    for name in names:
        if name not in AXES:
            meant = nearest(name, AXES)
            advice = f"; did you mean {meant}?" if meant else ""
            raise RefusedError(f"{name} is no axis of growth; choose from {', '.join(AXES)}{advice}")
    config, _ = compose(overrides)
    results = [benchmark_growth(config, points(overrides, names or list(AXES)), steps)]
    _show(results, growth_tables(results), markdown)


@app.command()
def memory(
    overrides: Sweep = None,
    steps: Annotated[int, typer.Option(min=1, help="Environment steps, nearly all of them random.")] = 1_000_000,
    markdown: Markdown = False,
) -> None:
    """Train for many steps in a process of its own: its memory, and the size of its checkpoint."""
    from benchmarks.memory import measure_in_process
    from benchmarks.tables import memory_tables

    points = sweep_points(overrides or [])
    compose_points(points)  # what is wrong shows before anything is measured
    results = [measure_in_process(point, steps) for point in points]
    _show(results, memory_tables(results), markdown)


@app.command()
def sbx(
    overrides: Overrides = None,
    python: Annotated[str, typer.Option(help="Interpreter that has SBX.", metavar="PATH")] = sys.executable,
    steps: Annotated[int, typer.Option(min=1, help="Timed environment steps' updates.")] = 40,
    loop_steps: Annotated[int, typer.Option(min=10, help="Timed environment steps of the loop.")] = 1000,
    markdown: Markdown = False,
) -> None:
    """Compare with SBX (JAX) in turn: updates of SAC, DroQ and REDQ (or the algo given); the loop at UTD 1."""
    from benchmarks.against_sbx import compare
    from benchmarks.tables import sbx_tables

    result = compare(overrides or [], python, steps, loop_steps)
    _show([result], sbx_tables([result]), markdown)


@app.command()
def peers(
    overrides: Overrides = None,
    steps: Annotated[
        int, typer.Option(min=10, help="Timed environment steps; with 20 updates each a twentieth.")
    ] = 600,
    environments: Annotated[
        Path | None, typer.Option(help="Where the libraries' environments are kept and found again.", metavar="DIR")
    ] = None,
    markdown: Markdown = False,
) -> None:
    """Compare the whole training with SBX, Stable-Baselines3 and CleanRL in turn, each installed by this command."""
    from benchmarks.peers import compare_peers
    from benchmarks.tables import peers_tables

    if any(line.startswith(("algo=", "algo.utd_ratio=")) for line in overrides or []):
        raise RefusedError("algo: the algorithms to compare are fixed: SAC, DroQ, REDQ and CrossQ")
    result = compare_peers(overrides or [], steps, environments, lambda line: print(line, file=sys.stderr, flush=True))
    _show([result], peers_tables([result]), markdown)


def _each(overrides: Sequence[str] | None, measure: Callable[[Config, Config], Result]) -> list[Result]:
    """Measure every point of the sweep that ``overrides`` make, all of them checked before."""
    return [measure(*point) for point in compose_points(sweep_points(overrides or []))]


def _counts(text: str) -> list[int]:
    counts = text.split(",")
    if not all(count.isdecimal() and int(count) for count in counts):
        raise RefusedError(f"--seeds: {text} is no list of numbers of seeds such as 1,2,4,8")
    return [int(count) for count in counts]


def _show(results: list[Result], tables: Sequence[Table], markdown: bool) -> None:
    from benchmarks.tables import plain

    if markdown:
        print("\n".join(table.to_markdown() for table in tables))
    else:
        print("\n\n".join(map(plain, tables)))
        print(json.dumps(results[0] if len(results) == 1 else results))


if __name__ == "__main__":
    main()
