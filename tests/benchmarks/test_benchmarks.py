"""The benchmarks: each really run, tiny, by its command; the operation count by hand."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import forks
import pytest
import torch
from real_runs import LITTLE_BIAS, SMALL

from benchmarks import peers
from benchmarks.__main__ import main
from benchmarks.against_sbx import algorithms, equal_work
from benchmarks.floor import learner_flops
from benchmarks.growth import AXES, points
from benchmarks.launch_bound import kernels, launch_bound, seconds_per_launch
from benchmarks.peers import Peer
from benchmarks.tables import seeds_tables
from droq_exp.config import compose
from droq_exp.learner.cuda.graph import Captured
from droq_exp.learner.orders import PolicyBehindCritics
from droq_exp.learner.spec import LearnerSpec

pytestmark = pytest.mark.program

TINY = (*SMALL, LITTLE_BIAS, "env=inverted_pendulum")

# What the driver uses of SBX; SAC notes what it is asked for.
STAND_IN = """
import json
from pathlib import Path

class SAC:
    def __init__(self, policy, env, **agent):
        self.gradient_steps, self.batch_size = agent["gradient_steps"], agent["batch_size"]
        self.note({"policy": policy, "env": env.spec.id, **agent})

    def learn(self, steps, reset_num_timesteps=True):
        self.note(["learn", steps, reset_num_timesteps])

    def train(self, gradient_steps, batch_size):
        if gradient_steps == 13:
            raise ValueError("no luck")
        self.note(["train", gradient_steps, batch_size])

    def note(self, content):
        with Path(__file__).with_name("notes").open("a") as file:
            print(json.dumps(content), file=file)
"""


@pytest.fixture(autouse=True)
def _empty_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Nothing is left behind, here or there."""
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert not list(here.iterdir())
    assert not list(temporary.glob("tmp*"))  # torch makes its cache there


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the stand-in for SBX in this interpreter's children; return the file of its notes."""
    place = tmp_path / "site"
    for name in ("sbx_rl", "jax"):
        (place / f"{name}-0.1.dist-info").mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 0.1\n"
        (place / f"{name}-0.1.dist-info" / "METADATA").write_text(metadata)
    (place / "sbx.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(place))
    return place / "notes"


def benchmark(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main([*arguments])
    return int(leaving.value.code or 0)


def result(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert benchmark(*arguments) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_floating_point_operations_by_hand() -> None:
    # obs 3, act 1, hidden 5 and 7, batch 2, N = 2, a target of 2 passes, UTD 4; [2, i] times [i, o] is 4 i o.
    spec = LearnerSpec(seeds=3, obs_dim=3, act_dim=1, hidden_sizes=(5, 7), utd_ratio=4, batch_size=2)
    critic_pass, critic_inner, actor_pass = 4 * (4 * 5 + 5 * 7), 4 * (5 * 7), 4 * (3 * 5 + 5 * 7 + 7 * 2)
    online = 2 * (2 * critic_pass + critic_inner)  # forward and weight gradients, input gradient of the second layer
    update = online + 2 * critic_pass + actor_pass  # the target's passes, the next action
    policy = 3 * actor_pass - 4 * 3 * 5 + 2 * 2 * critic_pass  # no input gradient of the actor's first layer
    assert learner_flops(spec) == 3 * (4 * update + policy)


def test_floating_point_operations_are_those_of_the_parts_that_there_are() -> None:
    """One pass over both halves in place of two networks', and a policy that learns in every second step."""
    joint = LearnerSpec(
        seeds=1,
        obs_dim=3,
        act_dim=1,
        hidden_sizes=(5, 7),
        utd_ratio=1,
        batch_size=2,
        target_network=False,
        joint_pass=True,
        order=PolicyBehindCritics(delay=2),
    )
    critic_pass, critic_inner, actor_pass = 4 * (4 * 5 + 5 * 7), 4 * (5 * 7), 4 * (3 * 5 + 5 * 7 + 7 * 2)
    update = 2 * 2 * (2 * critic_pass + critic_inner) + actor_pass
    policy = 3 * actor_pass - 4 * 3 * 5 + 2 * 2 * critic_pass
    assert learner_flops(joint) == update + policy / 2


def test_the_command_ends_with_a_line_of_json() -> None:
    command = [sys.executable, "-m", "benchmarks", "learner", "algo=redq", "--steps", "3", *SMALL, "env=hopper"]
    done = forks.run(command, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["benchmark"], told["algo"], told["env"], told["seeds"]) == ("learner", "redq", "Hopper-v5", 1)
    assert told["ms_per_env_step"] > 0
    assert told["floor_ms"] > 0
    rounding = 0.0005 * (1 + (1 + told["ratio"]) / told["floor_ms"])  # three decimals of each: the most they can differ
    assert abs(told["ratio"] - told["ms_per_env_step"] / told["floor_ms"]) < 1.01 * rounding


def test_a_sweep_is_measured_point_by_point(capsys: pytest.CaptureFixture[str]) -> None:
    told = result(capsys, "learner", *TINY, "algo=sac,droq", "--steps", "2")
    assert [(each["algo"], each["steps"]) for each in told] == [("sac", 2), ("droq", 2)]


def test_the_parts_of_the_loop_make_up_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    intervals = ("eval.interval=40", "checkpoint.interval=300")
    told = result(capsys, "loop", *TINY, *intervals, "seed=[3,4]", "--steps", "9")
    parts = ("learner", "acting", "environment", "storing", "other", "evaluation", "checkpoint")
    assert all(told[f"{part}_ms"] > 0 for part in parts)
    whole = told["ms_per_env_step"]
    assert sum(told[f"{part}_ms"] for part in parts) == pytest.approx(whole, abs=0.01)
    assert told["overhead"] == pytest.approx(whole / told["learner_ms"] - 1, rel=0.005)
    assert told["evaluation_ms"] == pytest.approx(1e3 * told["seconds_per_evaluation"] / 40, abs=0.02)
    assert told["checkpoint_ms"] == pytest.approx(1e3 * told["seconds_per_checkpoint"] / 300, abs=0.02)
    assert told["env_steps_per_second"] == pytest.approx(2e3 / whole, rel=0.01)
    assert told["env_steps_per_second_without_evaluation"] > told["env_steps_per_second"]


def test_packs_of_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    told = result(capsys, "seeds", *TINY, "--seeds", "2,3", "--steps", "2")
    first, second = told["rows"]
    assert (first["seeds"], second["seeds"], first["ratio"]) == (2, 3, 1)
    assert first["updates_per_second"] == pytest.approx(2 * 2 * 1e3 / first["ms_per_env_step"], rel=0.01)
    assert second["ratio"] == pytest.approx(second["updates_per_second"] / first["updates_per_second"], rel=0.01)


def test_on_a_gpu_packs_are_held_against_the_launches_of_their_kernels() -> None:
    shared = {"algo": "droq", "env": "Hopper-v5", "device": "cuda", "codebase": "redq", "torch": "2.13.0", "steps": 20}
    row = {"seeds": 8, "ms_per_env_step": 2.0, "updates_per_second": 80_000.0, "ratio": 6.5}
    on_cpu, on_gpu = seeds_tables(
        [
            {**shared, "rows": [row]},
            {**shared, "rows": [{**row, "kernels": 700, "launch_bound_ms": 1.4, "launch_bound_share": 0.7}]},
        ]
    )
    assert on_cpu.rows == ((8, 2.0, 80_000.0, 6.5),)
    assert on_gpu.rows == ((8, 2.0, 80_000.0, 6.5, 700, 1.4, 0.7),)
    assert [column.name for column in on_gpu.columns[4:]] == ["kernels", "launch bound, ms", "share"]
    assert seconds_per_launch(torch.device("cpu")) > 0
    assert launch_bound(700, 2e-6, 2e-3) == {"kernels": 700, "launch_bound_ms": 1.4, "launch_bound_share": 0.7}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_kernels_of_a_graph_are_counted() -> None:
    number = torch.zeros(1, device="cuda")

    def three() -> None:
        number.add_(1).mul_(2).sub_(1)

    graph = Captured(three, number.device, lambda: [number])
    graph()
    assert kernels(three) == kernels(graph) == 3


def test_growth_along_the_axes_that_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    told = result(capsys, "growth", "replay", "seeds", *TINY, "algo=sac", "--steps", "1")
    assert (told["algo"], list(told["axes"])) == ("sac", ["seeds", "replay"])
    assert [row["value"] for row in told["axes"]["replay"]] == [10_000, 100_000, 1_000_000]
    assert [row["value"] for row in told["axes"]["seeds"]] == [1, 2, 4, 8, 16]
    last = told["axes"]["seeds"][-1]
    assert last["updates_per_second"] == pytest.approx(16 * 2 * 1e3 / last["ms_per_env_step"], rel=0.01)


def test_the_values_of_every_axis() -> None:
    configs = points(["algo=sac"], list(AXES))
    assert [config.algo.utd_ratio for config in configs["utd"]] == [1, 2, 5, 10, 20, 40]
    assert [config.algo.num_critics for config in configs["critics"]] == [2, 3, 5, 10, 15, 20]
    assert [config.algo.batch_size for config in configs["batch"]] == [64, 128, 256, 512, 1024]
    assert [config.algo.hidden_sizes for config in configs["hidden"]] == [[n, n] for n in (128, 256, 512, 1024)]


def test_memory_and_the_checkpoint_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    told = result(capsys, "memory", *TINY, "--steps", "300", "checkpoint.interval=100")
    assert 0 < told["resident_mb"] <= told["peak_mb"]
    assert told["replay_file_mb"] == pytest.approx(300 * (4 + 1 + 1 + 4 + 1 + 1) * 4 / 1e6, abs=0.005)  # all of float32
    assert told["state_mb"] > told["weights_mb"] / 2 > 0


def test_sbx_is_given_equal_work(capsys: pytest.CaptureFixture[str], notes: Path) -> None:
    told = result(capsys, "sbx", *TINY, "algo=redq", "algo.utd_ratio=4", "--steps", "7", "--loop-steps", "20")
    assert [each["utd_ratio"] for each in (*told["updates"], *told["loop"])] == [4, 1]
    for each in (*told["updates"], *told["loop"]):
        assert (each["algo"], each["num_critics"], each["sbx-rl"], each["jax"]) == ("redq", 10, "0.1", "0.1")
        assert each["times_as_fast"] > 0
    noted = [json.loads(line) for line in notes.read_text().splitlines()]
    (agent, at_one) = [each for each in noted if isinstance(each, dict)]
    assert (agent["policy"], agent["env"]) == ("MlpPolicy", "InvertedPendulum-v5")
    assert (agent["gradient_steps"], agent["policy_delay"], agent["batch_size"]) == (4, 4, 16)
    assert (at_one["gradient_steps"], at_one["policy_delay"]) == (1, 1)
    policy = {"net_arch": [16, 16], "n_critics": 10, "dropout_rate": None, "layer_norm": False}
    assert agent["policy_kwargs"] == at_one["policy_kwargs"] == policy
    assert noted.count(["train", 4, 16]) == 3 + 10  # to warm up, then blocks of 5 for 7 steps
    assert noted.count(["learn", 2, False]) == 10


def test_sbx_is_compared_with_three_algorithms() -> None:
    assert algorithms(["env=ant"]) == [
        ["algo=sac", "env=ant"],
        ["algo=droq", "algo.dropout_rate=0.01", "env=ant"],
        ["algo=redq", "env=ant"],
    ]
    config, _ = compose(["algo=redq"])
    assert (config.algo.num_min, equal_work(config).algo.num_min) == (2, 10)


def test_tables_as_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark("seeds", *TINY, "--seeds", "1", "--steps", "1", "--markdown") == 0
    title, empty, head, rule, row, *_, caption = capsys.readouterr().out.strip().splitlines()
    assert (title, empty) == ("## Seeds trained together, droq InvertedPendulum-v5", "")
    assert head == "| seeds | ms per environment step | updates/s | ratio |"
    assert rule == "| ---: | ---: | ---: | ---: |"
    assert row.startswith("| 1 | ")
    assert caption.startswith("cpu, 1 thread, native; code base redq; torch ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lerner"], "Did you mean 'learner'?"),
        (["learner", "algo.utd_ratio=0"], "algo.utd_ratio"),
        (["learner", "algo=drok"], "did you mean droq?"),
        (["learner", "--steps", "0"], "--steps"),
        (["learner", "--seeds", "1"], "--seeds"),
        (["loop", "--steps", "5"], "--steps"),
        (["seeds", "--seeds", "1,two"], "--seeds: 1,two"),
        (["growth", "utf"], "did you mean utd?"),
        (["growth", "utd", "algo.utd_rato=1"], "did you mean algo.utd_ratio?"),
        (["memory", "env=hoper"], "did you mean hopper?"),
        (["sbx", "algo=droq_single"], "algo.target_passes: SBX"),
        (["sbx", "algo=sac", "algo.target_mode=ave"], "algo.target_mode: SBX"),
        (["sbx", "seed=[0,1]"], "seed: "),
        (["peers", "algo=sac"], "algo: the algorithms to compare are fixed"),
        (["sbx", *TINY, "--python", "no/such/python"], "--python: no/such/python cannot be run: No such file"),
        (["sbx", *TINY, "--python", sys.executable], "has no SBX (No module named 'sbx'); pip install 'droq-exp[sbx]'"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert benchmark(*arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert words in error
    assert len(error.splitlines()) == 1


# What the driver uses of a library: a constructor, and ``learn``, which steps through its environment.
TOY = """
class Toy:
    def __init__(self, policy, env, dies_after):
        self.env, self.dies_after = env, dies_after

    def learn(self, steps):
        self.env.reset(seed=0)
        for step in range(steps):
            if step == self.dies_after:
                raise ValueError("no luck")
            *_, terminated, truncated, _ = self.env.step(self.env.action_space.sample())
            if terminated or truncated:
                self.env.reset()
"""
SCRIPT = """
import sys
import gymnasium
import toy

print("a word of its own")
toy.Toy("", gymnasium.make(sys.argv[1]), None).learn(10**6)
"""


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Libraries that are installed, by their settings: a class, a script, one that dies, one that nothing installs."""
    place, site = tmp_path / "environments", tmp_path / "site"
    site.mkdir()
    (site / "toy.py").write_text(TOY)
    monkeypatch.setenv("PYTHONPATH", str(site))
    for name in ("toy", "script", "dies"):
        python = place / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (place / name / "installed").touch()
    script = place / "script" / "source" / "train.py"
    script.parent.mkdir()
    script.write_text(SCRIPT)

    def toy(dies_after: int | None) -> Callable[[Any, Path], dict[str, Any] | None]:
        whole = {"module": "toy", "class": "Toy", "agent": {"dies_after": dies_after}}
        return lambda config, _: whole if config.algo.name == "sac" else None

    peers_there = {
        "toy": Peer("Toy", (), ("pytest", "toy"), toy(None)),
        "script": Peer("Script", (), (), lambda config, _: {"script": str(script), "arguments": [config.env.id]}),
        "dies": Peer("Dies", (), (), toy(140)),
        "lost": Peer("Lost", (str(tmp_path / "nothing.whl"),), (), toy(None)),
    }
    monkeypatch.setattr(peers, "PEERS", peers_there)
    monkeypatch.setattr(peers, "ROWS", [["algo=sac", "algo.utd_ratio=1"], ["algo=droq", "algo.utd_ratio=2"]])
    return place


def test_peers_train_in_turn_and_what_is_missing_is_told(
    environments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["peers", *TINY, "training.start_steps=100", "--environments", str(environments), "--steps", "40"]
    assert benchmark(*arguments) == 0
    out, error = capsys.readouterr()
    assert error.splitlines() == [
        "Lost: installing",
        "sac, 1 updates an environment step",
        "droq, 2 updates an environment step",
    ]
    told = json.loads(out.splitlines()[-1])
    sac, droq = told["rows"]
    assert (sac["steps"], droq["steps"]) == (40, 20)
    assert all(sac[key] > 0 for key in ("ms_per_env_step", "toy_ms", "script_ms", "dies_ms"))
    assert droq["script_ms"] > 0
    assert [droq[key] for key in ("toy_ms", "dies_ms", "lost_ms")] == [None] * 3
    assert told["versions"] == {"pytest": version("pytest")}
    assert told["missing"]["Dies"] == "ValueError: no luck"
    assert "nothing.whl" in told["missing"]["Lost"]
    assert "Dies is missing: ValueError: no luck" in out


@pytest.mark.usefixtures("notes")
def test_what_sbx_dies_of_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark("sbx", *TINY, "algo.utd_ratio=13", "--steps", "1") == 1
    assert capsys.readouterr().err == "error: ValueError: no luck\n"
