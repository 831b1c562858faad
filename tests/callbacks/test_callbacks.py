"""Callbacks see the evaluations of a seed and may stop it: what becomes of it, and of the seeds beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from real_runs import (
    LITTLE_BIAS,
    SMALL,
    interrupt_at,
    launch,
    log_text,
    only_run,
    rows,
    runs,
    same_weights,
    status,
    steps,
    train,
    train_in,
    weights,
)

import droq_exp
from droq_exp.callbacks.prune import pass_verdict
from droq_exp.cli.app import main as app
from droq_exp.config import ConfigError, compose
from droq_exp.config.targets import trusting
from droq_exp.loggers.csv import CsvLogger
from droq_exp.runs.directory import run_directory

pytestmark = pytest.mark.program

PENDULUM = ("env=inverted_pendulum", LITTLE_BIAS)
LONG = (*PENDULUM, "training.total_steps=600")
ABOVE = "callbacks.early_stop.return_above"
AT_ONCE = ("callbacks=early_stop", f"{ABOVE}=0")  # at the first evaluation: each step of the task gives 1
THEIRS = """
from droq_exp.callbacks import Callback, Stop

class Counts(Callback):
    def __init__(self, most: int = 2):
        self.seen, self.most = [], most

    def evaluated(self, step, metrics):
        assert {"eval/return_mean", "train/updates"} <= metrics.keys()
        self.seen.append(step)
        return Stop(f"seen\\n{self.seen}") if len(self.seen) == self.most else None

    def state(self):
        return {"seen": self.seen}

    def load_state(self, state):
        self.seen = state["seen"]

class Early(Callback):
    def __init__(self, above: float):
        self.above = above

    def evaluated(self, step, metrics):
        return Stop("early") if step == 50 and metrics["eval/return_mean"] > self.above else None

class Breaks(Callback):
    def evaluated(self, step, metrics):
        raise RuntimeError("it broke\\nin two lines")

class Unkept(Callback):
    def evaluated(self, step, metrics):
        pass

    def state(self):
        return {"a set": {1}}

class Refuses(Callback):
    def __init__(self):
        raise ValueError("not on a Friday")

class Nothing:
    def evaluated(self, step, metrics):
        pass
"""


@pytest.fixture(autouse=True)
def directory(elsewhere: Path) -> Path:
    return elsewhere


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "their_callbacks.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path / "modules")


def their(name: str, *keys: str) -> list[str]:
    return [f"callbacks.mine._target_=their_callbacks.{name}", *(f"callbacks.mine.{key}" for key in keys)]


# The end of a seed


def test_a_stop_is_an_end_in_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    closed: list[str] = []
    monkeypatch.setattr(CsvLogger, "close", lambda self, state: closed.append(state))
    assert launch(*PENDULUM, *AT_ONCE) == 0
    run, told = only_run(), status(only_run())
    reason = f"early_stop: return {float(rows(run, 'eval')[0]['return_mean']):,.1f} above 0"
    assert (told["state"], told["step"], told["reason"], told["error"]) == ("stopped", 50, reason, None)
    assert told["ended"] is not None
    assert closed[0] == "stopped"
    assert log_text(run).splitlines()[-1].endswith(f"INFO stopped at step 50: {reason}")
    assert f"seed_0: stopped at step 50: {reason}\n" in capsys.readouterr().out
    assert steps(run) == steps(run, "train") == [50]
    assert weights(run)["step"] == 50
    assert [path.name for path in (run / "checkpoint").iterdir()] == ["weights.pt"]


def test_the_same_command_leaves_it_alone_and_another_one_starts_over(capsys: pytest.CaptureFixture[str]) -> None:
    """More steps are none of another run: it would have stopped there too."""
    assert train(*PENDULUM, *AT_ONCE) == 0
    before = (only_run() / "status.json").read_bytes()
    capsys.readouterr()
    for more in ([], ["training.total_steps=200"], ["training.total_steps=20"]):
        assert launch(*PENDULUM, *AT_ONCE, *more) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("already stopped at step 50 (early_stop: return ")
        assert line.endswith(f"{only_run().relative_to(Path.cwd())}; training.restart=true starts it over")
    assert (only_run() / "status.json").read_bytes() == before
    assert train(*PENDULUM, *AT_ONCE, "training.restart=true") == 0
    assert [run.name for run in runs()] == ["seed_0", "seed_0.before-1"]
    assert [status(run)["attempts"] for run in runs()] == [1, 1]


def test_a_stop_at_the_last_step_is_one_too_for_a_longer_run_would_have_it() -> None:
    assert train(*PENDULUM, *AT_ONCE, "training.total_steps=50") == 0
    assert (status(only_run())["state"], status(only_run())["step"]) == ("stopped", 50)


def test_what_it_takes_to_go_on_is_kept_where_a_finished_run_keeps_it() -> None:
    assert train(*PENDULUM, *AT_ONCE, "checkpoint.keep_replay=true") == 0
    assert sorted(path.name for path in (only_run() / "checkpoint").iterdir()) == [
        "replay.bin",
        "state_000000050.pt",
        "weights.pt",
    ]


def test_a_trial_that_its_search_gives_up_ends_as_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    command = (*LONG, "callbacks.prune._target_=droq_exp.callbacks.prune.Prune")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(70, patch)
        assert train(*command) == 143  # one evaluation, of which nobody thought ill
    pass_verdict(only_run(), "less than\nothers", unless=1e6)
    assert train(*command) == 0
    told = status(only_run())
    assert (told["state"], told["step"], told["reason"]) == ("pruned", 100, "prune: less than others")
    capsys.readouterr()
    assert train(*command) == 0
    assert capsys.readouterr().out.startswith("already pruned at step 100 (prune: less than others)")
    for asked, answer in (("retry", "0 of 1 runs to retry"), ("status", "1 run: 1 pruned")):
        with pytest.raises(SystemExit):
            app([asked, "outputs"])
        assert answer in capsys.readouterr().out
    with pytest.raises(SystemExit):
        app(["plan", *SMALL, *command])
    assert capsys.readouterr().out.splitlines()[1].split()[-2:] == ["pruned", "skipped"]


def test_a_trial_that_becomes_good_enough_is_not_given_up() -> None:
    command = (*PENDULUM, "callbacks.prune._target_=droq_exp.callbacks.prune.Prune")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(70, patch)
        assert train(*command) == 143
    pass_verdict(only_run(), "less than others", unless=0)
    assert train(*command) == 0
    assert status(only_run())["state"] == "finished"


def test_the_result_of_a_script_says_so() -> None:
    for _ in range(2):  # trained, and found as it is
        (run,) = droq_exp.train(*SMALL, *PENDULUM, *AT_ONCE)
        assert (run.state, run.error, list(run.evaluations["step"])) == ("stopped", None, [50])


# Several seeds


def between(whole: list[Path]) -> tuple[int, list[str]]:
    """Which of these seeds has the best first return, and a callback that stops this one there and no other."""
    returns = [float(rows(run, "eval")[0]["return_mean"]) for run in whole]
    others, best = sorted(returns)[-2:]
    assert others < best
    return returns.index(best), their("Early", f"above={(others + best) / 2}")


def test_a_stop_ends_its_seed_alone_and_changes_nothing_for_the_others(
    tmp_path: Path, directory: Path, theirs: None
) -> None:
    whole = train_in(tmp_path / "whole", *PENDULUM, "seed=[0,1,2]")
    best, callback = between(whole)
    with trusting(["their_callbacks"]):
        assert train(*PENDULUM, *callback, "seed=[0,1,2]") == 0
    for number, run in enumerate(runs(directory)):
        assert status(run)["state"] == ("stopped" if number == best else "finished")
        assert steps(run) == ([50] if number == best else [50, 100])
        assert number == best or same_weights(run, whole[number])


def test_each_seed_has_a_callback_of_its_own(theirs: None) -> None:
    with trusting(["their_callbacks"]):
        assert train(*PENDULUM, *their("Counts"), "seed=[0,1]", "training.total_steps=200") == 0
    for run in runs():
        assert (status(run)["state"], status(run)["step"]) == ("stopped", 100)
        assert status(run)["reason"] == "mine: seen [50, 100]"  # in one line


# Resuming


@pytest.mark.parametrize("at", [70, 120])
def test_a_resumed_run_stops_where_an_uninterrupted_one_does(
    at: int, tmp_path: Path, directory: Path, theirs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*LONG, *their("Counts", "most=3"))
    with trusting(["their_callbacks"]):
        (whole,) = train_in(tmp_path / "whole", *command)
        with monkeypatch.context() as patch:
            interrupt_at(at, patch)
            assert train(*command) == 143
        assert train(*command) == 0
    run = only_run(directory)
    assert status(run)["attempts"] == 2
    for each in (whole, run):
        assert (status(each)["step"], status(each)["reason"]) == (150, "mine: seen [50, 100, 150]")
    assert same_weights(run, whole)


def test_patience_is_in_the_checkpoint(tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (*LONG, "callbacks=early_stop", "callbacks.early_stop.patience=2")
    (whole,) = train_in(tmp_path / "whole", *command)
    last = status(whole)["step"]
    assert status(whole)["state"] == "stopped"
    returns = [float(row["return_mean"]) for row in rows(whole, "eval")]
    assert returns[-3] == max(returns)
    with monkeypatch.context() as patch:
        interrupt_at(last - 20, patch)  # one of the two has passed
        assert train(*command) == 143
    assert train(*command) == 0
    run = only_run(directory)
    assert (status(run)["step"], status(run)["reason"]) == (last, status(whole)["reason"])
    assert same_weights(run, whole)


def test_the_seeds_beside_a_stopped_one_go_on_without_it(
    tmp_path: Path, directory: Path, theirs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_in(tmp_path / "whole", *PENDULUM, "seed=[0,1]")
    best, callback = between(whole)
    with trusting(["their_callbacks"]):
        with monkeypatch.context() as patch:
            interrupt_at(70, patch)
            assert train(*PENDULUM, *callback, "seed=[0,1]") == 143
        stopped, other = runs(directory)[best], runs(directory)[1 - best]
        assert (status(stopped)["state"], status(other)["state"]) == ("stopped", "interrupted")
        before = (stopped / "status.json").read_bytes()
        assert train(*PENDULUM, *callback, "seed=[0,1]") == 0
    assert (stopped / "status.json").read_bytes() == before
    assert (status(other)["state"], status(other)["attempts"]) == ("finished", 2)
    assert same_weights(other, whole[1 - best])


# What goes wrong


def test_one_that_raises_fails_its_seed_in_one_line(theirs: None, capsys: pytest.CaptureFixture[str]) -> None:
    with trusting(["their_callbacks"]):
        assert train(*PENDULUM, *their("Breaks")) == 1
    run = only_run()
    assert (status(run)["state"], status(run)["step"]) == ("failed", 50)
    assert status(run)["error"]["summary"] == "RuntimeError: it broke in two lines"
    assert "their_callbacks.py" in log_text(run)
    shown = capsys.readouterr().err
    assert shown.count("seed_0: failed at step 50: RuntimeError: it broke in two lines (see ") == 1
    assert "Traceback" not in shown


def test_a_state_that_cannot_be_kept_fails_at_the_checkpoint(theirs: None) -> None:
    with trusting(["their_callbacks"]):
        assert train(*PENDULUM, *their("Unkept"), "checkpoint.interval=60") == 1
    assert status(only_run())["step"] == 60
    assert "the state of the callback mine cannot be kept" in status(only_run())["error"]["summary"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["callbacks=early_stop"], "callbacks.early_stop: stops nothing; give return_above, patience or both"),
        (["callbacks=early_stp"], "did you mean early_stop?"),
        (["callbacks=early_stop", "callbacks.early_stop.patiens=3"], "did you mean callbacks.early_stop.patience?"),
        (["callbacks=early_stop", "callbacks.early_stop.patience=0"], "an integer, at least 1"),
        (["callbacks.early_stop.patience=3"], "early_stop is not chosen: add callbacks=early_stop"),
        (their("Counts", "mosst=3"), "did you mean callbacks.mine.most?"),
        (their("Counts", "most=many"), 'callbacks.mine.most: "many" is not an integer'),
        (their("Refuses"), "callbacks.mine: not on a Friday"),
        (their("Nothing"), "their_callbacks.Nothing is no callback: it has no state, load_state"),
    ],
)
def test_what_no_run_can_have_is_refused(overrides: list[str], line: str, theirs: None) -> None:
    with trusting(["their_callbacks"]), pytest.raises(ConfigError) as refusal:
        compose(overrides)
    assert line in str(refusal.value)


# Identity


def test_callbacks_are_part_of_what_a_run_is(theirs: None) -> None:
    def folder(*overrides: str) -> str:
        return run_directory(*compose(["algo=sac", "env=hopper", *overrides]), 0).parent.name

    with trusting(["their_callbacks"]):
        chosen = [
            folder(),
            folder("callbacks=early_stop", f"{ABOVE}=3000"),
            folder("callbacks=early_stop", f"{ABOVE}=4000"),
            folder(*their("Counts")),
            folder(*their("Counts", "most=3")),
        ]
        assert folder(*their("Counts", "most=2")) == chosen[3]  # the default, typed
    assert chosen[0] == "hopper"
    assert len(set(chosen)) == len(chosen)
    assert folder("callbacks=early_stop", f"{ABOVE}=3000.0", "logger=wandb") == chosen[1]


def test_a_run_made_before_there_were_callbacks_is_one_without() -> None:
    assert train(*PENDULUM, "checkpoint.keep_replay=true") == 0
    config = yaml.safe_load((only_run() / "config.yaml").read_text())
    assert config.pop("callbacks") == {}
    assert not [key for key in config["identity"] if key.startswith("callbacks")]
    (only_run() / "config.yaml").write_text(yaml.safe_dump(config))
    assert train(*PENDULUM, "training.total_steps=150") == 0
    assert status(only_run())["step"] == 150
