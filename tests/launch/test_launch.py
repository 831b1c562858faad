"""The command line, by ``main`` with the training replaced, and by the real program where only that shows."""

from __future__ import annotations

import logging
import os
import resource
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import forks
import pytest
import yaml

from droq_exp import __version__
from droq_exp.config.files import GROUPS, choices
from droq_exp.config.schema import Config
from droq_exp.launch import main

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parent.parent.parent
Trained = list[tuple[Config, Config]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Trained:
    """What was to be trained, in an empty current directory; a seed of 100 or more is the exit code."""
    calls: Trained = []

    def train(config: Config, recipe: Config, overrides: Sequence[str]) -> int:
        calls.append((config, recipe))
        if config.seed == 99:
            raise RuntimeError("this point is broken")
        return config.seed - 100 if isinstance(config.seed, int) and config.seed >= 100 else 0

    module = ModuleType("droq_exp.training.train")
    module.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "droq_exp.training.train", module)
    monkeypatch.chdir(tmp_path)
    return calls


def _exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(list(arguments))
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def _runs(trained: Trained) -> list[tuple[str, str, object]]:
    return [(config.algo.name, config.env.name, config.seed) for config, _ in trained]


def test_one_run(trained: Trained, tmp_path: Path) -> None:
    assert _exit_code("algo=redq", "env=ant", "codebase=ku", "seed=3", "training.total_steps=20000") == 0
    ((config, recipe),) = trained
    assert (config.algo.name, config.env.name, config.codebase.name, config.seed) == ("redq", "ant", "ku", 3)
    assert (config.training.total_steps, recipe.training.total_steps) == (20_000, 300_000)
    assert os.listdir(tmp_path) == []


def test_seeds_side_by_side_are_one_run(trained: Trained) -> None:
    assert _exit_code("seed=[0,1,2,3]") == 0
    assert _runs(trained) == [("droq", "hopper", [0, 1, 2, 3])]


@pytest.mark.parametrize("code", [0, 1, 130, 143])
def test_a_run_ends_with_the_code_of_its_training(trained: Trained, code: int) -> None:
    assert _exit_code(f"seed={100 + code}") == code


def test_an_exception_is_shown_and_exits_with_1(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code("seed=99") == 1
    assert "RuntimeError: this point is broken" in capsys.readouterr().err


def test_a_sweep_runs_every_point(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(
        ["-m", "algo=sac,droq", "env=hopper,walker2d", "seed=range(0,2)", "+algo.gamma=0.9", "env.kwargs.frame_skip=4"]
    )
    expected = [(algo, env, seed) for algo in ("sac", "droq") for env in ("hopper", "walker2d") for seed in (0, 1)]
    assert _runs(trained) == expected
    assert {config.algo.gamma for config, _ in trained} == {0.9}
    assert {config.env.kwargs["frame_skip"] for config, _ in trained} == {4}
    assert {recipe.algo.gamma for _, recipe in trained} == {0.99}
    assert "[1] algo=sac env=hopper seed=0" in capsys.readouterr().out
    assert os.listdir(tmp_path) == []


def test_a_sweep_over_choices_by_pattern(trained: Trained) -> None:
    main(["--multirun", "env=glob(h*,exclude=hum*)", "seed=choice(1,2)"])
    assert _runs(trained) == [("droq", env, seed) for env in ("halfcheetah", "hopper") for seed in (1, 2)]


def test_a_sweep_over_lists(trained: Trained) -> None:
    main(["-m", "seed=[0,1],[2,3]", "logger=[tensorboard,wandb],wandb"])
    assert [config.seed for config, _ in trained] == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert ["tensorboard" in config.logger for config, _ in trained] == [True, False] * 2


@pytest.mark.parametrize("broken", [99, 101])
def test_a_point_that_fails_does_not_stop_the_others(
    trained: Trained, broken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _exit_code("-m", f"seed=0,{broken},1") == 1
    assert [config.seed for config, _ in trained] == [0, broken, 1]
    assert f"failed: seed={broken}" in capsys.readouterr().err


@pytest.mark.parametrize("code", [130, 143])
def test_an_interruption_ends_the_sweep(trained: Trained, code: int) -> None:
    assert _exit_code("-m", f"seed=0,{100 + code},1") == code
    assert [config.seed for config, _ in trained] == [0, 100 + code]


BAD_COMMANDS = [
    (["algo.dropout_rat=1"], "algo.dropout_rat: ", "did you mean algo.dropout_rate?"),
    (["algo=drok"], "algo: ", "did you mean droq?"),
    (["seed=0,1"], "seed: ", "-m"),
    (["-m", "seed=interval(0,1)"], "seed: ", "range()"),
    (["-m", "seed=range(0)"], "seed: ", "no value"),
    (["-m", "seed=shuffle(range(0,1e12))"], "seed: ", "at most 10,000"),
    (["-m", "algo=sac,droq", "seed=range(0,6000)"], "seed: ", "at most 10,000"),
    (["-m", "env=glob(z*)"], "env: ", "no value"),
    (["-m", "seed=0,1", "algo=sac,drok"], "algo: ", "did you mean droq?"),
    (["-m", "seed=0,1", "algo.utd_ratio=1,0"], "algo.utd_ratio: ", "sweep point: seed=0 algo.utd_ratio=0"),
    (["-m", "codebase=redq,ku", "codebase.policy_update_delay=5"], "codebase.policy_update_delay: ", "codebase=ku"),
    (["-m", "algo.num_critics=1,2", "algo.num_min=2"], "algo.num_min: ", "sweep point: algo.num_critics=1"),
    (["-m", "env=gym", "env.id=Pendulum-v1,CartPole-v1"], "env.id: ", "sweep point: env.id=CartPole-v1"),
    (["-m", "hydra/launcher=nothing"], "hydra/launcher: ", "basic"),
    (["--nonsense"], "unrecognized arguments: --nonsense", "--help"),
    (["--cfg", "jobs"], "argument -c/--cfg", "job"),
    (["--cfg", "job", "-m"], "--multirun", "--cfg"),
    (["--cfg", "job", "--package", "algos"], "--package", "algos"),
    (["--cfg", "job", "algo.gamma=2"], "algo.gamma: ", "[0, 1]"),
    (["--package", "algo"], "--package", "--cfg"),
    (["--resolve"], "--package and --resolve", "--cfg"),
    (["--config-dir", "nowhere"], "--config-dir", "nowhere"),
    (["--config-dir", "/" + 4000 * "x"], "/xxx", "File name too long"),
    (["logger=wandb,tensorboard"], "logger: ", "logger=[wandb,tensorboard] is all of them in one run"),
    (["algo.hidden_sizes=64,64"], "algo.hidden_sizes: ", "algo.hidden_sizes=[64,64] is all of them in one run"),
    (["env=Pendulum-v1"], "env: ", "env=gym env.id=Pendulum-v1"),
    (["-m", "hydra/launcher=joblib"], "hydra/launcher: ", "hardware=cpu_parallel"),
    (["track=true"], "track: unknown key; ", "did you mean logger=wandb?"),
    (["output_dir=/dev/null"], "output_dir: ", "/dev/null is not a directory"),
    (["output_dir='~/x'"], "output_dir: ~/x: the shell did not expand it; did you mean /", "/x?"),
    ([r"output_dir='a\${b}'"], "output_dir: ", "may hold no ${"),
    (
        ["-m", "hardware=cpu_parallel", "seed=0,1", "training.replay_size=300000000", "training.total_steps=300000000"],
        "hardware.jobs: the processes that run at once fill ",
        "GB with transitions, and this machine has ",
    ),
    (
        ["hardware=cpu", "hardware.threads=1024"],
        "hardware.threads: 1024 is not allowed; it must be at most ",
        "CPUs",
    ),
    (["hardware=slurm_cpu", "hardware.threads=5"], "hardware.threads: 5 is not", "at most hardware.cpus=4"),
    (
        ["hardware=slurm_cpu", "hardware.hours=0.05", "hardware.signal_delay_seconds=180"],
        "hardware.signal_delay_seconds: 180 is not allowed; it must be ",
        "fewer seconds than hardware.hours=0.05 has",
    ),
    (["output_dir=/proc/x"], "output_dir: ", "/proc/x cannot be written"),
    (["output_dir=/dev/null/deeper"], "output_dir: ", "/dev/null is not a directory"),
    (["-m", "seed=0,1", f"output_dir={'long' * 100}"], "output_dir: ", "too long"),
    (["--config-name", "other"], "--config-name", "--config-dir"),
    (["-m", "seed=0,1", f"output_dir={'x/' * 2000}"], "output_dir: ", "1,000 characters"),
]


@pytest.mark.parametrize(("arguments", "start", "words"), BAD_COMMANDS)
def test_a_wrong_command_is_one_line_and_code_2(
    arguments: list[str], start: str, words: str, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _exit_code(*arguments) == 2
    _assert_one_line(capsys.readouterr(), start, words)
    assert trained == []
    assert os.listdir(tmp_path) == []


def _assert_one_line(shown: tuple[str, str], start: str, words: str) -> None:
    out, error = shown
    assert out == ""
    assert error.endswith("\n")
    assert error.count("\n") == 1
    assert error.startswith(f"error: {start}")
    assert words in error


def test_help_lists_every_group_and_choice(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    text = capsys.readouterr().out
    for group in GROUPS:
        (line,) = [line for line in text.splitlines() if line.split()[:1] == [group]]
        assert set(choices(group)) <= set(line.replace(",", " ").split())
    for key in ("seed", "algo.num_min", "bias.enabled", "logger.wandb.mode", "hardware.updates", "eval.interval"):
        assert f"\n  {key} " in text
    (line,) = [line for line in text.splitlines() if line.split()[:1] == ["algo.gamma"]]
    assert line.split(maxsplit=1)[1] == "discount (SAC, table 1) [a number in [0, 1]]"


def test_cfg_prints_what_would_run(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    main(["env=ant", "--cfg", "job", "codebase=ku"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["env"]["id"], printed["algo"]["target_entropy"], printed["eval"]["episodes"]) == ("Ant-v5", -4, 10)
    main(["--cfg", "job", "--package", "training"])
    assert yaml.safe_load(capsys.readouterr().out)["total_steps"] == 125_000
    main(["--cfg", "job", "-p", "algo.gamma"])
    assert capsys.readouterr().out.strip() == "0.99"
    assert trained == []


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Put the root logger back: ``--info`` and ``--cfg`` let Hydra open its log, on an output closed after the test."""
    handlers, level = logging.root.handlers.copy(), logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--info", "searchpath", "seed=1"], "Config search path"),
        (["--cfg", "hydra"], "DroqExpSweeper"),
        (["--hydra-help"], "Hydra"),
    ],
)
def test_hydras_own_flags(arguments: list[str], words: str, tmp_path: Path) -> None:
    """In a process of its own: Hydra's help closes the handlers of all that logs, and pytest's files with them."""
    done = forks.run([sys.executable, str(ROOT / "launch.py"), *arguments], cwd=tmp_path)
    assert (done.returncode, words in done.stdout) == (0, True), done.stderr
    assert os.listdir(tmp_path) == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code("--version") == 0
    assert capsys.readouterr().out == f"droq_exp {__version__}\n"


def test_choices_from_a_directory_of_ones_own(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").write_text("# @package _global_\nexperiment_name: mine\n")
    main(["--config-dir", "own", "-m", "experiment=mine", "seed=0,1"])
    assert _exit_code("--config-dir", "own", "experiment=mine", "seed=2") == 0
    assert [(config.experiment_name, config.seed) for config, _ in trained] == [("mine", 0), ("mine", 1), ("mine", 2)]


Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The real ``launch.py``, run in an empty directory."""

    def run(*arguments: str, program: tuple[str, ...] = (str(ROOT / "launch.py"),)) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, *program, *arguments]
        return forks.run(command, cwd=tmp_path, env=environment)

    return run


@pytest.mark.parametrize(
    ("arguments", "start", "words"),
    [
        (["+algo.dropout_rat=1"], "algo.dropout_rat: ", "did you mean algo.dropout_rate?"),
        (["algo.dropout_rate=1.5"], "algo.dropout_rate: ", "[0, 1)"),
        (["algo.num_min=3", "algo.num_critics=2"], "algo.num_min: ", "algo.num_critics=2"),
        (["algo.utd_ratio=0"], "algo.utd_ratio: ", "at least 1"),
        (["env=gym", "env.id=Pendulom-v1"], "env.id: ", "did you mean Pendulum-v1?"),
        (["env=gym", "env.id=CartPole-v0"], "env.id: ", "continuous actions"),  # old: Gymnasium would warn
        (["hardware=gpu"], "hardware.device: ", "hardware=cpu"),
        (["-m", "seed=0,1", "algo=sac,drok"], "algo: ", "did you mean droq?"),
    ],
)
def test_the_program_refuses_in_one_line(
    arguments: list[str], start: str, words: str, program: Program, tmp_path: Path
) -> None:
    done = program(*arguments)
    assert done.returncode == 2
    _assert_one_line((done.stdout, done.stderr), start, words)
    assert os.listdir(tmp_path) == []


def test_three_ways_to_the_same_program(program: Program) -> None:
    arguments = ["--cfg", "job", "algo=sac"]
    entry = "from droq_exp.launch import main; main()"
    ways = [program(*arguments, program=way) for way in ((str(ROOT / "launch.py"),), ("-m", "droq_exp"), ("-c", entry))]
    assert {way.returncode for way in ways} == {0}
    assert len({way.stdout for way in ways}) == 1


@pytest.mark.parametrize("closed", [[2], [0, 1, 2]])
def test_streams_that_the_caller_has_closed_are_no_error(closed: list[int], tmp_path: Path) -> None:
    """No file takes their numbers, in which the line would end; MuJoCo finds its libraries."""
    code = "import os, sys; [os.close(int(number)) for number in sys.argv[1]]; os.execv(sys.argv[2], sys.argv[2:])"
    command = [sys.executable, "-c", code, "".join(map(str, closed)), sys.executable, str(ROOT / "launch.py")]
    small = ["debug=default", "env=inverted_pendulum", "hardware=cpu", "training.total_steps=50"]
    assert subprocess.run([*command, *small], cwd=tmp_path, check=False).returncode == 0
    (status,) = tmp_path.rglob("status.json")
    assert '"finished"' in status.read_text()
    assert subprocess.run([*command, *small, "nothing=1"], cwd=tmp_path, check=False).returncode == 2


def test_a_reader_who_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    small = "debug=default env=inverted_pendulum hardware=cpu training.total_steps=5 bias.enabled=false"
    for command in ("droq_exp --cfg hydra", f"droq_exp {small}", "droq_exp.cli.app --help"):
        line = f"{sys.executable} -m {command} 2>&1 | true; echo ${{PIPESTATUS[0]}}"
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("0\n", "")
    (status,) = tmp_path.rglob("status.json")
    assert '"finished"' in status.read_text()


@pytest.mark.parametrize("flags", [[], ["-u"]])
def test_a_line_is_there_once_it_is_written(flags: list[str], tmp_path: Path) -> None:
    code = "import sys; from droq_exp.streams import prepare_streams; prepare_streams(); "
    code += "print('told', file=sys.stderr); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment["PYTHONPATH"] = str(ROOT)
    with subprocess.Popen([sys.executable, *flags, "-c", code], env=environment, **pipes) as process:
        assert process.stderr is not None
        assert select.select([process.stderr], [], [], 60)[0]
        process.communicate()


@pytest.mark.parametrize("module", ["droq_exp", "droq_exp.cli.app"])
def test_a_working_directory_that_is_gone_is_one_line(module: str, tmp_path: Path) -> None:
    line = f"mkdir gone; cd gone; rmdir ../gone; {sys.executable} -m {module} plan seed=0"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "working directory has been deleted" in done.stderr


@pytest.fixture
def fresh_program(tmp_path: Path) -> Program:
    """The same by an interpreter that has imported nothing beforehand."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    return run


def test_help_is_quick(fresh_program: Program) -> None:
    """By processor time, which does not depend on what else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert fresh_program(str(ROOT / "launch.py"), "--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


def test_help_imports_nothing_heavy(fresh_program: Program) -> None:
    code = (
        "import sys; from droq_exp.launch import main; main(['--help']); "
        "print(sorted({'torch', 'gymnasium', 'mujoco', 'wandb', 'tensorboard'} & set(sys.modules)))"
    )
    assert fresh_program("-c", code).stdout.splitlines()[-1] == "[]"
