"""Exact resume: a run that was broken off ends with the numbers of one that was not."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import yaml
from real_runs import (
    LITTLE_BIAS,
    assert_same,
    contents,
    interrupt_at,
    log_text,
    only_run,
    runs,
    start,
    status,
    train,
    train_in,
    untimed,
    wait_for,
)

from droq_exp.config import ConfigError
from droq_exp.config.errors import OtherRunError
from droq_exp.loggers.csv import CsvLogger
from droq_exp.runs.checkpoint import Checkpoints
from droq_exp.runs.lock import HeldError, RunLock
from droq_exp.runs.replay_file import ReplayFile
from droq_exp.training.loop import TrainingLoop

pytestmark = pytest.mark.program

MORE_CASES = [
    ("droq", "ant", "ku", "eager"),
    ("sac", "humanoid", "redq", "eager"),
    ("crossq", "hopper", "redq", "eager"),
    ("xqc", "hopper", "redq", "eager"),
]
HOPPER = ("env=hopper", LITTLE_BIAS, "checkpoint.interval=30", "training.total_steps=160")


@pytest.fixture(autouse=True)
def directory(elsewhere: Path) -> Path:
    return elsewhere


def broken_off(step: int, *command: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(step, patch)
        assert train(*command) == 143


def damage(path: Path, at: int = -10) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("algo", "env", "codebase", "updates"),
    [
        ("droq", "hopper", "redq", "native"),
        ("redq", "hopper", "ku", "native"),
        ("flashsac", "inverted_pendulum", "redq", "eager"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE_CASES),
    ],
)
def test_interrupted_twice_it_ends_like_a_run_in_one_go(
    algo: str, env: str, codebase: str, updates: str, tmp_path: Path
) -> None:
    command = (*HOPPER, f"env={env}", f"algo={algo}", f"codebase={codebase}", "eval.episodes=1")
    command = (*command, f"hardware.updates={updates}", "algo.utd_ratio=1")
    if env == "ant":  # its episodes are long
        command = (*command, "env.max_episode_steps=40")
    if codebase == "ku":
        command = tuple(line for line in command if line != LITTLE_BIAS)
    (whole,) = train_in(tmp_path / "whole", *command)
    broken_off(23, *command)  # among the random steps, in mid-episode
    broken_off(117, *command)
    assert train(*command) == 0
    assert_same(only_run(), whole)
    assert status(only_run())["attempts"] == 3
    assert "WARNING" not in log_text(only_run())
    assert os.listdir(only_run() / "checkpoint") == ["weights.pt"]


@pytest.mark.parametrize("step", [50, 100, 160])
def test_a_measurement_that_was_broken_off_is_made_when_the_run_goes_on(step: int, tmp_path: Path) -> None:
    """At the last step too."""
    command = (*HOPPER, "seed=[3,1]", "callbacks=early_stop", "callbacks.early_stop.patience=9")
    whole = train_in(tmp_path / "whole", *command)
    broken_off(step, *command)
    assert [status(run)["step"] for run in runs()] == [step, step]
    assert train(*command) == 0
    for run, same in zip(runs(), whole, strict=True):
        assert_same(run, same)
        assert "WARNING" not in log_text(run)


def test_of_seeds_that_go_on_together_only_those_are_measured_that_were_not(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_off(100, *HOPPER, "seed=0")
    log = CsvLogger.log

    def interrupted(self: CsvLogger, step: int, metrics: dict[str, float]) -> None:
        log(self, step, metrics)
        if step == 100:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(CsvLogger, "log", interrupted)
        assert train(*HOPPER, "seed=1") == 143
    before = untimed(runs()[1], "eval"), untimed(runs()[1], "train")
    assert train(*HOPPER, "seed=[0,1]") == 0
    for run in runs():
        assert "continuing from the checkpoint of step 100" in log_text(run)
        assert [row["step"] for row in untimed(run, "train")] == ["50", "100", "150", "160"]
        assert all(row["critic_loss"] for row in untimed(run, "train")[1:])
    assert (untimed(runs()[1], "eval")[:2], untimed(runs()[1], "train")[:2]) == before


def test_a_pack_goes_on_side_by_side(tmp_path: Path) -> None:
    command = (*HOPPER, "seed=[3,1,2]")
    whole = train_in(tmp_path / "whole", *command)
    broken_off(83, *command)
    assert train(*command) == 0
    for run, same in zip(runs(), whole, strict=True):
        assert_same(run, same)
        assert "WARNING" not in log_text(run)


@pytest.mark.parametrize("moment", ["state_", "replay.bin", "eval.csv"])
def test_a_killed_process_is_resumed_exactly(moment: str, directory: Path, tmp_path: Path) -> None:
    (whole,) = train_in(tmp_path / "whole", *HOPPER)
    process = start(directory, *HOPPER)
    wait_for(lambda: any(moment in str(path) for run in runs(directory) for path in run.rglob("*")), process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert status(only_run())["state"] == "running"
    assert train(*HOPPER) == 0
    assert_same(only_run(), whole)


def test_a_replay_smaller_than_the_run(tmp_path: Path) -> None:
    """The oldest transitions are gone from memory; those of the episode may be gone with them."""
    command = (*HOPPER, "training.replay_size=51")
    (whole,) = train_in(tmp_path / "whole", *command)
    broken_off(65, *command)
    assert train(*command) == 0
    assert_same(only_run(), whole)


# Damage


def test_a_damaged_checkpoint_leaves_the_one_before(tmp_path: Path) -> None:
    (whole,) = train_in(tmp_path / "whole", *HOPPER)
    broken_off(95, *HOPPER)
    newest = only_run() / "checkpoint" / "state_000000095.pt"
    damage(newest)
    assert train(*HOPPER) == 0
    assert "passing over the checkpoint of step 95" in log_text(only_run())
    assert "continuing from the checkpoint of step 90" in log_text(only_run())
    assert_same(only_run(), whole)


def gone(path: Path) -> None:
    path.unlink()


def no_directory_nor_file_of_ours(path: Path) -> None:
    """Beside ``path``: what a user or a broken tool might have put there."""
    (path.parent / "state_mine.pt").write_text("mine")
    (path.parent / "state_000000093.pt").mkdir()
    content = b"no state of ours"
    (path.parent / "state_000000094.pt").write_bytes(hashlib.sha256(content).digest() + content)


RESUMED_ANYWAY = ("eval.csv", "train.csv", "checkpoint/weights.pt", "train.log")
HARMS = (gone, emptied, cut, zeroed, damage)


@pytest.mark.parametrize("at", [95, 160])
def test_damage_before_a_resume_is_mended_or_told(
    at: int, tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To each file that a run does not need to go on, in five ways; to a checkpoint's folder. 160 is the last step."""
    command = (*HOPPER, "env.kwargs={max_episode_steps: 12}")
    (whole,) = train_in(tmp_path / "whole", *command)
    if at == 160:  # a process that was killed when it had only to say that it has finished
        assert train(*command, "checkpoint.keep_replay=true") == 0
        (only_run() / "status.json").unlink()
    else:
        broken_off(at, *command)
    shutil.move(directory / "outputs", tmp_path / "outputs")
    harmed = [(name, harm) for name in RESUMED_ANYWAY for harm in HARMS]
    for name, harm in [*harmed, (f"checkpoint/state_{at:09d}.pt", no_directory_nor_file_of_ours)]:
        shutil.copytree(tmp_path / "outputs", directory / "outputs")
        harm(only_run() / name)
        capsys.readouterr()
        assert train(*command) == 0, (name, harm)
        assert_same(only_run(), whole)
        told = f"seed_0/{name} was missing or damaged: its " in capsys.readouterr().err
        assert told == name.endswith(".csv"), (name, harm)
        assert f"continuing from the checkpoint of step {at}" in log_text(only_run())
        shutil.rmtree(directory / "outputs")


@pytest.mark.parametrize("total", [160, 120])
def test_a_stray_state_of_a_later_step_blocks_nothing(total: int, tmp_path: Path) -> None:
    """Whatever step its name says, and whatever it is: empty, a directory where the run is to save, another's."""
    command = (*HOPPER, f"training.total_steps={total}")
    (whole,) = train_in(tmp_path / "whole", *command)
    broken_off(95, *command)
    folder = only_run() / "checkpoint"
    (folder / "state_000000150.pt").touch()
    (folder / f"state_{10**100}.pt").write_bytes((folder / "state_000000095.pt").read_bytes())
    (folder / "state_000000100.pt").mkdir()
    assert train(*command) == 0
    assert "continuing from the checkpoint of step 95" in log_text(only_run())
    assert_same(only_run(), whole)


@pytest.mark.parametrize("name", ["eval.csv", "train.log", "checkpoint/weights.pt"])
def test_a_directory_in_the_place_of_a_file_is_refused(name: str) -> None:
    broken_off(95, *HOPPER)
    path = only_run() / name
    path.unlink()
    path.mkdir()
    with pytest.raises(OtherRunError, match=rf"^output_dir: .*{name} is a directory; training.restart=true"):
        train(*HOPPER)
    assert train(*HOPPER, "training.restart=true") == 0


def test_rows_of_a_checkpoint_of_before_it_held_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (whole,) = train_in(tmp_path / "whole", *HOPPER)
    broken_off(95, *HOPPER)
    checkpoints = Checkpoints(only_run() / "checkpoint")
    for step in checkpoints.steps():
        state = checkpoints.load(step)
        del state["member"]["loggers"], state["seed"]
        checkpoints.save(step, state)
    (only_run() / "train.csv").write_text("step,critic_loss\n5!,1.0\n")
    assert train(*HOPPER) == 0
    assert untimed(only_run(), "eval") == untimed(whole, "eval")
    assert untimed(only_run(), "train") == untimed(whole, "train")[1:]
    assert "train.csv is damaged, and the checkpoint has no copy of its rows" in capsys.readouterr().err


def test_a_checkpoint_of_another_seed_is_passed_over(tmp_path: Path) -> None:
    (whole,) = train_in(tmp_path / "whole", *HOPPER, "seed=1")
    broken_off(95, *HOPPER, "seed=[0,1]")
    ours, others = runs()
    shutil.rmtree(others / "checkpoint")
    shutil.copytree(ours / "checkpoint", others / "checkpoint")
    assert train(*HOPPER, "seed=1") == 0
    assert "state_000000095.pt is of seed 0, not of 1" in log_text(others)
    assert_same(others, whole)


def test_a_truncated_replay_file_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    (whole,) = train_in(tmp_path / "whole", *HOPPER)
    broken_off(95, *HOPPER)
    replay_file = only_run() / "checkpoint" / "replay.bin"
    os.truncate(replay_file, replay_file.stat().st_size - 4)
    assert train(*HOPPER) == 0
    assert "passing over the checkpoint of step 95" in log_text(only_run())
    assert_same(only_run(), whole)


def test_without_any_whole_checkpoint_it_starts_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (whole,) = train_in(tmp_path / "whole", *HOPPER)
    broken_off(95, *HOPPER)
    damage(only_run() / "checkpoint" / "replay.bin", at=3)
    assert train(*HOPPER) == 0
    assert "no checkpoint to go on from: starting over from step 0, it had come to step 95" in capsys.readouterr().err
    assert_same(only_run(), whole)


def test_a_pack_goes_back_to_a_step_that_all_have(tmp_path: Path) -> None:
    command = (*HOPPER, "seed=[0,1]")
    whole = train_in(tmp_path / "whole", *command)
    broken_off(95, *command)
    damage(runs()[1] / "checkpoint" / "state_000000095.pt")
    assert train(*command) == 0
    assert "continuing from the checkpoint of step 90" in log_text(runs()[0])
    for run, same in zip(runs(), whole, strict=True):
        assert_same(run, same)


def test_seeds_without_a_common_step_go_on_apart() -> None:
    broken_off(95, *HOPPER, "seed=0")
    assert train(*HOPPER, "seed=[0,1]") == 0
    assert "continuing from the checkpoint of step 95" in log_text(runs()[0])
    assert "continuing" not in log_text(runs()[1])
    assert [status(run)["state"] for run in runs()] == ["finished", "finished"]


# Rows of before `truncated` was kept

CUT_OFF = (*HOPPER, "env.kwargs={max_episode_steps: 12}")  # so that there are time limits to forget


def narrow(run: Path) -> None:
    """Make the checkpoints of ``run`` what they were: no last column, and a state that names no replay file."""
    path = run / "checkpoint" / "replay.bin"
    checkpoints = Checkpoints(path.parent)
    for step in checkpoints.steps():
        state = checkpoints.load(step)
        size = state["row_size"]
        wide = np.fromfile(path, dtype=np.float32, count=step * size).reshape(step, size)
        ends = np.cumsum([count for count, _ in state["journal"]])
        old = [np.ascontiguousarray(block[:, :-1]) for block in np.split(wide, ends)[:-1]]
        state["journal"] = [(len(block), zlib.crc32(block.tobytes())) for block in old]
        state["row_size"] -= 1
        del state["replay_file"]
        checkpoints.save(step, state)
    wide = np.fromfile(path, dtype=np.float32).reshape(-1, size)
    assert wide[:, -1].any()
    path.write_bytes(np.ascontiguousarray(wide[:, :-1]).tobytes())


def files(run: Path) -> list[str]:
    return sorted(os.listdir(run / "checkpoint"))


@pytest.fixture(scope="module")
def interrupted_and_whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run as it was interrupted in the old days, and the same in one go."""
    place = tmp_path_factory.mktemp("old")
    (whole,) = train_in(place / "whole", *CUT_OFF)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        broken_off(95, *CUT_OFF)
    narrow(only_run(place))
    return place / "outputs", whole


@pytest.fixture
def old_run(interrupted_and_whole: tuple[Path, Path], directory: Path) -> Path:
    """The old run is in the current directory; the whole one, to compare with."""
    interrupted, whole = interrupted_and_whole
    shutil.copytree(interrupted, directory / "outputs")
    assert files(only_run()) == ["replay.bin", "state_000000090.pt", "state_000000095.pt", "weights.pt"]
    return whole


def test_an_old_run_ends_like_a_new_one(old_run: Path) -> None:
    assert train(*CUT_OFF) == 0
    assert_same(only_run(), old_run)
    assert "continuing from the checkpoint of step 95" in log_text(only_run())
    assert "cannot be resumed exactly" not in log_text(only_run())
    assert files(only_run()) == ["weights.pt"]


def test_old_rows_are_dropped_with_the_last_checkpoint_that_needs_them(old_run: Path) -> None:
    broken_off(110, *CUT_OFF)
    assert files(only_run())[:2] == ["replay-2.bin", "replay.bin"]
    broken_off(119, *CUT_OFF)
    assert files(only_run()) == ["replay-2.bin", "state_000000110.pt", "state_000000119.pt", "weights.pt"]
    assert train(*CUT_OFF) == 0
    assert_same(only_run(), old_run)


@pytest.mark.parametrize("moment", ["half a copy", "copied", "appended"])
def test_killed_before_the_next_checkpoint_an_old_run_is_what_it_was(
    moment: str, old_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = only_run() / "checkpoint"
    before = {path: path.read_bytes() for path in checkpoint.iterdir()}

    def broken(*_: object) -> None:
        raise OSError("the machine went down")

    with monkeypatch.context() as patch:
        if moment == "half a copy":
            copied = iter([ReplayFile.append])
            patch.setattr(ReplayFile, "append", lambda self, rows: next(copied, broken)(self, rows))
        elif moment == "copied":
            patch.setattr(TrainingLoop, "_act", broken)
        else:
            patch.setattr(Checkpoints, "save", broken)
        assert train(*CUT_OFF) == 1
    assert (checkpoint / "replay-2.bin").stat().st_size > 0
    for path, content in before.items():
        assert path.name == "weights.pt" or path.read_bytes() == content
    assert train(*CUT_OFF) == 0
    assert "continuing from the checkpoint of step 95" in log_text(only_run())
    assert "passing over" not in log_text(only_run())
    assert_same(only_run(), old_run)


@pytest.mark.parametrize("damaged", ["state_000000110.pt", "replay-2.bin"])
def test_where_the_first_new_checkpoint_is_damaged_the_old_one_serves(damaged: str, old_run: Path) -> None:
    broken_off(110, *CUT_OFF)
    damage(only_run() / "checkpoint" / damaged)
    assert train(*CUT_OFF) == 0
    assert "passing over the checkpoint of step 110" in log_text(only_run())
    assert log_text(only_run()).count("continuing from the checkpoint of step 95") == 2
    assert_same(only_run(), old_run)


@pytest.mark.usefixtures("old_run")
def test_rows_of_another_task_are_refused() -> None:
    content = (only_run() / "checkpoint" / "replay.bin").read_bytes()
    checkpoints = Checkpoints(only_run() / "checkpoint")
    for step in checkpoints.steps():
        state = checkpoints.load(step)
        state["row_size"] -= 1
        count = sum(rows for rows, _ in state["journal"])
        state["journal"] = [(count, zlib.crc32(content[: count * state["row_size"] * 4]))]
        checkpoints.save(step, state)
    assert train(*CUT_OFF) == 1
    assert "rows of 26 numbers are none of this task, whose rows have 28" in status(only_run())["error"]["summary"]


# What is told


def test_other_conditions_are_told() -> None:
    broken_off(95, *HOPPER, "seed=[0,1]")
    assert train(*HOPPER, "seed=0") == 0
    (line,) = [line for line in log_text(runs()[0]).splitlines() if "WARNING" in line]
    assert "seeds: 0, 1 before, 0 now" in line
    assert "threads" not in line


def test_conditions_of_other_names_are_the_same_ones() -> None:
    """Whose seeds were a "pack" and whose updates were said or, before that, followed from two other conditions."""
    for dropped in ((), ("updates",)):
        broken_off(95, *HOPPER, f"seed={len(dropped)}")
        run = runs()[-1]
        checkpoints = Checkpoints(run / "checkpoint")
        step = checkpoints.steps()[0]
        state = checkpoints.load(step)
        state["conditions"]["pack"] = state["conditions"].pop("seeds")
        for name in dropped:
            del state["conditions"][name]
        checkpoints.save(step, state)
        assert train(*HOPPER, f"seed={len(dropped)}") == 0
        assert "other conditions" not in log_text(run)


class Noisy(gymnasium.Env):
    """A task whose transitions come from a generator that no seed reaches."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.random.default_rng().random(1), {}

    def step(self, action):
        self.time += 1
        return np.random.default_rng().random(1), 0.0, self.time == 8, False, {}


gymnasium.register("Noisy-v0", entry_point=Noisy, max_episode_steps=1000)


def test_a_task_that_does_not_repeat_itself_is_told() -> None:
    command = ("env=gym", "env.id=Noisy-v0", LITTLE_BIAS)
    broken_off(70, *command)
    assert train(*command) == 0
    assert "this task cannot be resumed exactly" in log_text(only_run())
    assert status(only_run())["state"] == "finished"


def test_a_directory_of_another_run_is_refused() -> None:
    broken_off(70, *HOPPER)
    config = only_run() / "config.yaml"
    stored = yaml.safe_load(config.read_text())
    stored["identity"]["algo.gamma"] = 0.5
    config.write_text(yaml.safe_dump(stored))
    with pytest.raises(ConfigError, match=r"holds another run: algo\.gamma is 0\.5 there and 0\.99 here"):
        train(*HOPPER)


def test_a_finished_run_of_another_identity_is_refused_too() -> None:
    """Two recipes, typed into one folder."""
    assert train(*HOPPER, "experiment_name=mine") == 0
    before = only_run().joinpath("status.json").read_text()
    assert train(*HOPPER, "experiment_name=mine") == 0
    config = only_run() / "config.yaml"
    stored = yaml.safe_load(config.read_text())
    stored["identity"]["algo.tau"] = 0.5
    config.write_text(yaml.safe_dump(stored))
    with pytest.raises(ConfigError, match=r"algo\.tau is 0\.5 there"):
        train(*HOPPER, "experiment_name=mine")
    assert only_run().joinpath("status.json").read_text() == before


def test_a_second_process_says_who_is_at_work() -> None:
    broken_off(70, *HOPPER)
    with RunLock.acquire(only_run()), pytest.raises(HeldError, match=str(os.getpid())):
        train(*HOPPER)
    assert status(only_run())["state"] == "interrupted"
    assert not (only_run() / "lock.json").exists()


# A finished run


def test_a_finished_run_with_its_replay_is_extended(tmp_path: Path) -> None:
    (whole,) = train_in(tmp_path / "whole", *HOPPER, "training.total_steps=200")
    assert train(*HOPPER, "training.total_steps=150", "checkpoint.keep_replay=true") == 0
    assert train(*HOPPER, "training.total_steps=200") == 0
    assert "continuing from the checkpoint of step 150" in log_text(only_run())
    assert_same(only_run(), whole)


@pytest.fixture(scope="module")
def finished_and_broken_off(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run that finished, one that could be extended, and one that was interrupted at step 95; where they are."""
    place = tmp_path_factory.mktemp("done")
    train_in(place / "finished", *HOPPER)
    train_in(place / "extendable", *HOPPER, "checkpoint.keep_replay=true")
    (place / "interrupted").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place / "interrupted")
        broken_off(95, *HOPPER)
    return {kind: place / kind for kind in ("finished", "extendable", "interrupted")}


def renamed(path: Path) -> None:
    path.parent.rename(path.parent.with_name("seed_1"))


LONGER, SHORTER, OF_SEED_1 = "training.total_steps=200", "training.total_steps=60", "seed=1"


@pytest.mark.parametrize(
    ("kind", "harm", "name", "override", "words"),
    [
        ("finished", None, "", LONGER, "training.total_steps: .*finished at step 160 .*checkpoint.keep_replay=true"),
        ("extendable", damage, "checkpoint/replay.bin:3", LONGER, "training.total_steps: .*has no whole checkpoint"),
        ("interrupted", None, "", SHORTER, "training.total_steps: .*has come to step 95.*total_steps=95 or more"),
        ("finished", Path.unlink, "status.json", "", "output_dir: .*status.json is missing"),
        ("interrupted", emptied, "status.json", "", "output_dir: .*status.json is damaged"),
        ("finished", zeroed, "status.json", "", "output_dir: .*status.json is damaged"),
        ("interrupted", Path.unlink, "config.yaml", "", "output_dir: .*config.yaml is missing"),
        ("finished", emptied, "config.yaml", "", "output_dir: .*config.yaml is damaged"),
        ("interrupted", zeroed, "config.yaml", "", "output_dir: .*config.yaml is damaged"),
        ("finished", cut, "config.yaml", "", "output_dir: .*config.yaml is damaged"),
        ("finished", gone, "eval.csv", "", "output_dir: .*was done, but eval.csv is damaged since"),
        ("finished", emptied, "train.csv", "", "output_dir: .*was done, but train.csv is damaged since"),
        ("finished", damage, "checkpoint/weights.pt", "", "output_dir: .*but checkpoint/weights.pt is damaged since"),
        ("finished", renamed, "config.yaml", OF_SEED_1, "output_dir: .*seed is 0 there and seed_1 is asked for"),
        ("interrupted", renamed, "config.yaml", OF_SEED_1, "output_dir: .*seed is 0 there and seed_1 is asked for"),
    ],
)
def test_results_are_not_deleted_unasked(
    kind: str,
    harm: Callable[..., None] | None,
    name: str,
    override: str,
    words: str,
    finished_and_broken_off: dict[str, Path],
    directory: Path,
) -> None:
    shutil.copytree(finished_and_broken_off[kind] / "outputs", directory / "outputs")
    if harm is not None:
        path, _, at = name.partition(":")
        harm(only_run() / path, *([int(at)] if at else []))
    before = contents(only_run())
    command = (*HOPPER, *([override] if override else []))
    with pytest.raises(OtherRunError, match=f"^{words}"):
        train(*command)
    assert contents(only_run()) == before
    if harm is not renamed:  # which is another run: nothing of this command
        assert train(*command, "training.restart=true") == 0
        after = contents(runs()[1])
        assert runs()[1].name == "seed_0.before-1"
        assert [told for _, told in after.values()] == [told for _, told in before.values()]


def with_older_state(finished: Path, directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A copy of a run that can be extended, whose newest state is changed to what an earlier version wrote."""
    shutil.copytree(finished / "outputs", directory / "outputs")
    checkpoints = Checkpoints(only_run() / "checkpoint")
    step = max(checkpoints.steps())
    state = checkpoints.load(step)
    change(state)
    checkpoints.save(step, state)


def test_a_checkpoint_of_before_it_held_all_is_refused_and_nothing_changes(
    finished_and_broken_off: dict[str, Path], directory: Path
) -> None:
    def change(state: dict[str, Any]) -> None:
        del state["agent"]["exploration"], state["conditions"]["updates"], state["conditions"]["library"]

    with_older_state(finished_and_broken_off["extendable"], directory, change)
    before = contents(only_run())
    with pytest.raises(OtherRunError, match=r"earlier version, which did not save exploration yet: only that version"):
        train(*HOPPER, LONGER)
    assert contents(only_run()) == before


def test_conditions_of_before_all_were_noted_are_no_obstacle(
    finished_and_broken_off: dict[str, Path], directory: Path
) -> None:
    def change(state: dict[str, Any]) -> None:
        for name in ("updates", "library", "compiled"):
            del state["conditions"][name]

    with_older_state(finished_and_broken_off["extendable"], directory, change)
    assert train(*HOPPER, LONGER) == 0
    assert status(only_run())["step"] == 200


# A cluster's warning


def test_the_warning_of_a_cluster_saves_and_says_so(tmp_path: Path) -> None:
    (whole,) = train_in(tmp_path / "whole", *HOPPER)
    before = signal.signal(signal.SIGUSR2, lambda number, frame: None)
    try:
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(77, patch, signal.SIGUSR2)
            assert train(*HOPPER) == 128 + signal.SIGUSR2
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert status(only_run())["error"]["summary"] == "interrupted by SIGUSR2"
    assert train(*HOPPER) == 0
    assert_same(only_run(), whole)


def test_without_a_handler_of_somebody_elses_the_warning_is_left_alone(directory: Path) -> None:
    process = start(directory, *HOPPER, "training.total_steps=100000")
    wait_for(lambda: bool(list(directory.rglob("state_*.pt"))), process)
    process.send_signal(signal.SIGUSR2)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGUSR2


# Loggers


def test_tensorboard_disowns_what_came_after_the_checkpoint() -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    command = (*HOPPER, "logger=tensorboard", "eval.interval=20", "checkpoint.interval=50")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "save", _save_until(50))
        broken_off(115, *command)
    assert train(*command) == 0
    events = EventAccumulator(str(only_run() / "tensorboard"))
    events.Reload()
    steps = [event.step for event in events.Scalars("eval/return_mean")]
    assert steps == list(range(20, 161, 20))


def _save_until(last: int) -> object:
    save = TrainingLoop.save

    def limited(self: TrainingLoop) -> None:
        if self.step <= last:
            save(self)

    return limited


def test_the_program_refuses_a_second_process(directory: Path) -> None:
    command = (*HOPPER, "training.total_steps=100000")
    first = start(directory, *command)
    wait_for(lambda: bool(list(directory.rglob("state_*.pt"))), first)
    second = start(directory, *command)
    _, error = second.communicate(timeout=120)
    first.send_signal(signal.SIGTERM)
    assert second.returncode == 1
    assert error.strip().startswith("error: ")
    assert len(error.strip().splitlines()) == 1
    assert str(first.pid) in error
    first.communicate(timeout=60)
    assert first.returncode == 143
