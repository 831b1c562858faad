"""What ``droq-exp tune`` has found, where searches are reported: tables, and places on three charts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from droq_exp.report.captions import numbers, return_digits, table, texts
from droq_exp.report.table import Table, Value
from droq_exp.runs.files import DamagedError
from droq_exp.tune.record import ABOUT, About, Trial, best, read
from droq_exp.tune.search import FILES

WIDTH, HEIGHT = 640, 250  # of a chart, in its own units: pixels where there is room
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 34  # of what is drawn around it
ROW = 26  # of a bar
TICKS = 5
SIDE = 46  # left and right of the outer of the parallel axes


@dataclass(frozen=True)
class Search:
    """One search; ``name`` is the label of its directory, or where it lies below that."""

    name: str
    about: About
    trials: Sequence[Trial]

    @property
    def best(self) -> Trial | None:
        """The trial of the highest value; None without any."""
        return best(self.trials)


@dataclass(frozen=True)
class Tick:
    """A label on an axis, and where."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A trial on the history; ``state`` says how it is drawn, ``text`` is read out."""

    x: float
    y: float
    state: str
    text: str


@dataclass(frozen=True)
class History:
    """The values of the trials in the order in which they were begun, and as a line the best so far."""

    marks: list[Mark]
    best: str  # of an SVG polyline
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class Bar:
    """How important a key is: its share as text, and the bar's length."""

    key: str
    text: str
    y: float
    length: float


@dataclass(frozen=True)
class Axis:
    """One of the parallel axes."""

    x: float
    name: str
    ticks: list[Tick]


@dataclass(frozen=True)
class Line:
    """A trial across the parallel axes; ``rank`` is 0 for the worst value and 1 for the best."""

    points: str
    rank: float
    best: bool
    pruned: bool
    text: str


@dataclass(frozen=True)
class Charts:
    """What the page draws of a search; None, or nothing, of what there are too few trials for."""

    search: Search
    counts: str
    history: History | None
    bars: list[Bar]
    axes: list[Axis]
    lines: list[Line]


def searches(sources: Mapping[str, Path]) -> tuple[list[Search], list[str]]:
    """The searches among the directories by their labels, and in them, and a line for each that cannot be read."""
    found, problems = [], []
    for label, directory in sources.items():
        for name, folder in _folders(label, directory):
            try:
                known = read(folder / FILES)
            except DamagedError as error:
                problems.append(str(error))
                continue
            if known is not None:
                found.append(Search(name, *known))
    return found, problems


def _folders(label: str, directory: Path) -> Iterator[tuple[str, Path]]:
    """Where a search may be: ``outputs/tune/<search>`` itself, or below what is reported."""
    yield label, directory
    for pattern in ("*", "*/*"):
        for path in sorted(directory.glob(f"{pattern}/{FILES}/{ABOUT}")):
            folder = path.parents[1]
            yield folder.relative_to(directory).as_posix(), folder


def trials_table(found: Sequence[Search]) -> Table:
    """All trials, the best first. A column of several searches is empty where one does not have its key."""
    keys = list(dict.fromkeys(key for search in found for key in search.about.terms))
    several = len(found) > 1
    rows: list[tuple[Value, ...]] = []
    for search in found:
        for trial in sorted(search.trials, key=_rank):
            own = (trial.number, trial.state, trial.value, trial.step)
            values = (trial.values.get(key, "") for key in keys)
            rows.append((*([search.name] if several else []), *own, *values, trial.reason, trial.runs))
    columns = [*texts(*(["search"] if several else [])), *numbers(0, "trial"), *texts("state")]
    columns += [*numbers(return_digits(trial.value for search in found for trial in search.trials), "value")]
    return table("search_trials", [*columns, *numbers(0, "pruned at"), *texts(*keys, "why", "runs")], rows)


def importance_table(found: Sequence[Search]) -> Table:
    """How much each key had to do with a trial's being among the best."""
    several = len(found) > 1
    rows: list[tuple[Value, ...]] = [
        (*([search.name] if several else []), key, search.about.terms.get(key, ""), share)
        for search in found
        for key, share in search.about.importance.items()
    ]
    columns = [*texts(*(["search"] if several else []), "key", "searched"), *numbers(2, "importance")]
    return table("search_importance", columns, rows)


def charts(search: Search) -> Charts:
    """The places of everything on a search's charts."""
    counts = Counter(trial.state for trial in search.trials)
    by_state = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    axes = _axes(search)
    return Charts(search, by_state, _history(search), _bars(search.about), axes, _lines(search, axes))


def _history(search: Search) -> History | None:
    valued = [(trial, trial.value) for trial in search.trials if trial.value is not None]
    if not valued:
        return None
    ticks = _ticks([value for _, value in valued])
    low, high = ticks[0], ticks[-1]
    last = max(1, len(search.trials) - 1)

    def x(number: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * number / last

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    marks = [Mark(x(trial.number), y(value), trial.state, told(search, trial)) for trial, value in valued]
    failed = [trial for trial in search.trials if trial.state == "failed"]
    marks += [Mark(x(trial.number), y(low), "failed", told(search, trial)) for trial in failed]
    so_far = -math.inf
    corners: list[tuple[float, float]] = []
    for trial, value in valued:
        if trial.state == "complete" and value > so_far:
            corners += [(x(trial.number), y(so_far))] if corners else []
            so_far = value
            corners.append((x(trial.number), y(value)))
    corners += [(x(last), y(so_far))] if corners else []
    whole = [number for number in _ticks([0, last]) if number == int(number) and 0 <= number <= last]
    return History(
        marks,
        _polyline(corners),
        [Tick(x(number), f"{number:,.0f}") for number in whole],
        [Tick(y(value), _short(value)) for value in ticks],
    )


def _bars(about: About) -> list[Bar]:
    room = WIDTH - 300
    shares = sorted(about.importance.items(), key=lambda item: -item[1])
    return [Bar(key, f"{share:.0%}", row * ROW, max(1.0, room * share)) for row, (key, share) in enumerate(shares)]


def _axes(search: Search) -> list[Axis]:
    """One for each key, and one for the value at the right."""
    values = [trial.value for trial in search.trials if trial.value is not None]
    if not values:
        return []
    keys = [*search.about.terms]
    places = [SIDE + (WIDTH - 2 * SIDE) * index / len(keys) for index in range(len(keys) + 1)]
    names = [key.rpartition(".")[2] for key in keys]
    names = names if len({*names}) == len(names) else keys
    axes = [Axis(place, name, _key_ticks(search, key)) for place, name, key in zip(places, names, keys, strict=False)]
    ends = [Tick(_height(share), _short(value)) for share, value in ((0, min(values)), (1, max(values)))]
    return [*axes, Axis(places[-1], "value", ends)]


def _lines(search: Search, axes: Sequence[Axis]) -> list[Line]:
    """The best last, above the others."""
    valued = sorted((trial for trial in search.trials if trial.value is not None), key=_rank, reverse=True)
    values = sorted({trial.value for trial in valued if trial.value is not None})
    lines = []
    for trial in valued:
        assert trial.value is not None
        shares = [_share(search, key, trial.values[key]) for key in search.about.terms]
        shares.append((trial.value - values[0]) / (values[-1] - values[0]) if len(values) > 1 else 0.5)
        points = [(axis.x, _height(share)) for axis, share in zip(axes, shares, strict=True)]
        rank = values.index(trial.value) / max(1, len(values) - 1)
        is_best = search.best is not None and trial.number == search.best.number
        lines.append(Line(_polyline(points), rank, is_best, trial.state == "pruned", told(search, trial)))
    return lines


def told(search: Search, trial: Trial) -> str:
    """A trial in a line: its value, what has become of it, its values."""
    value = "" if trial.value is None else f" {_short(trial.value)}"
    state = "" if trial.state == "complete" else f" {trial.state}{'' if trial.step is None else f' at {trial.step:,}'}"
    values = ", ".join(f"{key}={_number(trial.values[key])}" for key in search.about.terms)
    return f"trial {trial.number}:{value}{state} ({values})"


def _key_ticks(search: Search, key: str) -> list[Tick]:
    texts = _inside(search, key)
    if search.about.scales[key] != "choice":
        texts = texts[:2]
    return [Tick(_height(_share(search, key, text)), _number(text)) for text in texts]


def _share(search: Search, key: str, text: str) -> float:
    """Where a value is between the ends of its axis, from 0 to 1."""
    scale, ends = search.about.scales[key], _inside(search, key)
    if scale == "choice":
        return ends.index(text) / max(1, len(ends) - 1) if text in ends else 0.5
    low, high, value = (float(each) for each in (*ends[:2], text))
    if scale == "log":
        low, high, value = (math.log(each) for each in (low, high, value))
    return (value - low) / (high - low)


def _inside(search: Search, key: str) -> list[str]:
    """The parts of a key's term; of a choice all values that trials have had, numbers by their size."""
    if search.about.scales[key] == "choice":
        return sorted({trial.values[key] for trial in search.trials}, key=_by_size)
    return search.about.terms[key].partition("(")[2].removesuffix(")").split(",")


def _height(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM - 16) * share


def _rank(trial: Trial) -> tuple[int, float, int]:
    """The best complete trial first, then what was pruned, then the rest."""
    order = {"complete": 0, "pruned": 1}.get(trial.state, 2)
    return order, -(trial.value if trial.value is not None else -math.inf), trial.number


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers around ``values``, about ``TICKS`` of them and at least two."""
    low, high = min(values), max(values)
    span = high - low or max(abs(high), 1.0)
    step = 10 ** math.floor(math.log10(span / TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= TICKS)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * number for number in range(first, max(last, first + 1) + 1)]


def _polyline(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _by_size(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"


def _number(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text
