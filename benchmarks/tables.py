"""The benchmarks' results as tables, for a terminal and for docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks import peers
from benchmarks.growth import AXES
from droq_exp.report.table import Column, Table

Result = dict[str, Any]
ALGO, ENV, DROPOUT = Column("algo"), Column("env"), Column("dropout", 3)
MS, FLOOR, RATIO = Column("ms per environment step", 2), Column("floor, ms", 2), Column("ratio", 2)
UPDATES = Column("updates/s", 0)
LOOP_PARTS = ("learner", "acting", "environment", "storing", "other", "evaluation", "checkpoint")
MEMORY_PARTS = ("resident", "peak", "device_peak", "replay_file", "state", "weights")


def plain(table: Table) -> str:
    """``table`` in columns of equal width, its caption below."""
    lines = [[column.name for column in table.columns], *table.texts]
    widths = [max(len(line[number]) for line in lines) for number in range(len(table.columns))]
    text = [
        "  ".join(
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(line, widths, table.columns, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([f"{table.title}:", *text, f"({table.caption})"])


def learner_tables(results: Sequence[Result]) -> list[Table]:
    """One row a result of the learner."""
    keys = ("algo", "env", "dropout_rate", "seeds", "ms_per_env_step", "floor_ms", "ratio", "updates_per_second")
    columns = (ALGO, ENV, DROPOUT, Column("seeds", 0), MS, FLOOR, RATIO, UPDATES)
    return [_table("Updates of an environment step", columns, results, keys)]


def loop_tables(results: Sequence[Result]) -> list[Table]:
    """One row a result of the loop, the parts of its environment step in milliseconds."""
    keys = (*(f"{name}_ms" for name in LOOP_PARTS), "overhead", "env_steps_per_second")
    columns = (*(Column(name, 2) for name in LOOP_PARTS), Column("overhead", 3), Column("environment steps/s", 1))
    leading = (ALGO, ENV, Column("UTD", 0), MS)
    return [
        _table(
            "The whole loop, ms per environment step",
            (*leading, *columns),
            results,
            ("algo", "env", "utd_ratio", "ms_per_env_step", *keys),
        )
    ]


def seeds_tables(results: Sequence[Result]) -> list[Table]:
    """A table for each result of seeds trained together."""
    columns = {
        "seeds": Column("seeds", 0),
        "ms_per_env_step": MS,
        "updates_per_second": UPDATES,
        "ratio": RATIO,
        "kernels": Column("kernels", 0),
        "launch_bound_ms": Column("launch bound, ms", 2),
        "launch_bound_share": Column("share", 2),
    }
    tables = []
    for each in results:
        keys = [key for key in columns if key in each["rows"][0]]  # the last three on a GPU alone
        title = f"Seeds trained together, {each['algo']} {each['env']}"
        tables.append(_table(title, tuple(columns[key] for key in keys), each["rows"], keys, [each]))
    return tables


def growth_tables(results: Sequence[Result]) -> list[Table]:
    """A table for each axis."""
    keys = ("value", "ms_per_env_step", "floor_ms", "ratio", "updates_per_second")
    return [
        _table(
            f"Growth with {AXES[name].title}, {each['algo']} {each['env']}",
            (Column(AXES[name].title, 0), MS, FLOOR, RATIO, UPDATES),
            rows,
            keys,
            [each],
        )
        for each in results
        for name, rows in each["axes"].items()
    ]


def memory_tables(results: Sequence[Result]) -> list[Table]:
    """One row a run; megabytes."""
    columns = (ALGO, ENV, Column("steps", 0), *(Column(f"{name.replace('_', ' ')} MB", 1) for name in MEMORY_PARTS))
    keys = ("algo", "env", "steps", *(f"{name}_mb" for name in MEMORY_PARTS))
    return [_table("Memory of a run, and its checkpoint on disk", columns, results, keys)]


def sbx_tables(results: Sequence[Result]) -> list[Table]:
    """The updates, then the loop."""
    (result,) = results
    leading, names = (ALGO, ENV, Column("critics", 0)), ("algo", "env", "num_critics")
    unit = {"ms_per_env_step": ("Updates of an environment step, ms", 2), "env_steps_per_second": ("Loop, steps/s", 1)}
    tables = []
    for kind, (key, (title, digits)) in zip(("updates", "loop"), unit.items(), strict=True):
        columns = (*leading, Column("SBX", digits), Column("this project", digits), Column("times as fast", 2))
        rows = result[kind]
        tables.append(_table(title, columns, rows, (*names, f"sbx_{key}", key, "times_as_fast"), [result | rows[0]]))
    return tables


def peers_tables(results: Sequence[Result]) -> list[Table]:
    """One row an algorithm, one column a library; nothing where it has no such algorithm, or could not be measured."""
    (result,) = results
    columns = (
        ALGO,
        ENV,
        Column("UTD", 0),
        Column("this project", 2),
        *(Column(peer.title, 2) for peer in peers.PEERS.values()),
    )
    keys = ("algo", "env", "utd_ratio", "ms_per_env_step", *(f"{name}_ms" for name in peers.PEERS))
    table = _table("Training, ms per environment step", columns, result["rows"], keys, [result])
    told = [f"{name} {version}" for name, version in result["versions"].items()]
    told += [f"{title} is missing: {why}" for title, why in result["missing"].items()]
    return [replace(table, caption="; ".join([table.caption, *told]))]


def _table(
    title: str, columns: tuple[Column, ...], rows: Sequence[Result], keys: Sequence[str], about: Sequence[Result] = ()
) -> Table:
    """``about``: what the caption is taken from; the rows themselves, where nothing is given."""
    values = tuple(tuple(row[key] for key in keys) for row in rows)
    return Table("benchmark", title, _caption(about or rows), columns, values)


def _caption(results: Sequence[Result]) -> str:
    words = []
    for key, form in (
        ("device", "{}"),
        ("codebase", "code base {}"),
        ("torch", "torch {}"),
        ("sbx-rl", "SBX {}"),
        ("jax", "JAX {}"),
        ("steps", "{} steps"),
    ):
        found = sorted({str(result[key]) for result in results if key in result})
        if found:
            words.append(form.format(" and ".join(found)))
    return "; ".join(words)
