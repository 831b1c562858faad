"""The C++ where the comparison with the slow reference does not look: threads, shapes, NaN, bf16, and machines on which
it cannot be built."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import forks
import pytest
import torch

from droq_exp.cpu import has_bf16
from droq_exp.learner import networks, updates
from droq_exp.learner.backend import EAGER, NATIVE
from droq_exp.learner.draws import Draws, DrawSampler
from droq_exp.learner.dropout import KeyedMasks
from droq_exp.learner.learner import Learner
from droq_exp.learner.native import build
from droq_exp.learner.native.build import BuildError, Variant, shared_object, start
from droq_exp.learner.native.critic_updates import CriticUpdates
from droq_exp.learner.optimiser import adam_coefficients
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState

UPDATES = 6
needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this CPU has no bf16 instructions")
STATE = ["critic", "buffers", "before_last", "target", "moment1", "moment2", "sums"]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def spec(**changes: Any) -> LearnerSpec:
    values: dict[str, Any] = {
        "seeds": 2,
        "obs_dim": 5,
        "act_dim": 2,
        "hidden_sizes": (64, 48),
        "dropout_rate": 0.1,
        "layer_norm": True,
        "utd_ratio": UPDATES,
        "batch_size": 37,
        "dtype": torch.float64,
    }
    return LearnerSpec(**{**values, **changes})


def state_of(spec: LearnerSpec) -> dict[str, torch.Tensor]:
    """A used state: positive second moments, targets that differ from the online critics."""
    size = sum(torch.Size(shape).numel() for shape in spec.critic.shapes(spec).values())
    generator = torch.Generator().manual_seed(1)
    state = {
        name: 0.3 * torch.randn(spec.seeds, size, generator=generator, dtype=torch.float64).to(spec.dtype)
        for name in STATE
        if name not in ("buffers", "sums")
    }
    state = {"critic": state.pop("critic"), "buffers": torch.zeros(spec.seeds, 0, dtype=spec.dtype), **state}
    state["moment2"].square_()
    state["sums"] = torch.zeros(spec.seeds, 3, dtype=spec.dtype)
    return state


def arguments_of(spec: LearnerSpec, *, keyed: bool = True) -> list[torch.Tensor | KeyedMasks | None]:
    """Everything after the state, as the learner passes it: views of the sampler's memory, more updates than wanted."""
    draws: Draws = DrawSampler(spec, [4, 9][: spec.seeds], torch.device("cpu"), keyed=keyed).draw(100)
    generator = torch.Generator().manual_seed(2)
    shape = (spec.seeds, UPDATES + 2, spec.batch_size)

    def normal(*more: int) -> torch.Tensor:
        drawn = torch.randn(*shape, *more, generator=generator, dtype=torch.float64)
        return drawn.to(spec.dtype)[:, 1 : UPDATES + 1]

    coefficients = torch.as_tensor(adam_coefficients(3, UPDATES, 1e-3), dtype=spec.dtype)
    inputs = spec.obs_dim + spec.act_dim
    drawn = [draws.critic_dropout_masks, draws.subset, draws.in_subset, draws.rem_weights]
    return [normal(inputs), normal(inputs), normal(), normal().abs(), coefficients, *drawn]


def assert_same(spec: LearnerSpec) -> None:
    """The C++ and the torch function start from one state and end in one state, to rounding."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(spec.dtype)  # of a byte mask times a Python number
    try:
        expected, actual = state_of(spec), state_of(spec)
        updates.critic_updates(spec, *expected.values(), *arguments_of(spec, keyed=False))  # type: ignore[arg-type]
        CriticUpdates(spec)(*actual.values(), *arguments_of(spec))  # type: ignore[arg-type]
    finally:
        torch.set_default_dtype(default)
    for name in STATE:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-10, atol=1e-10, equal_nan=True)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [1, 2, 3, 16])
@pytest.mark.parametrize("critics", [1, 2, 5])
def test_any_number_of_threads(count: int, critics: int) -> None:
    torch.set_num_threads(count)
    assert_same(spec(num_critics=critics, num_min=min(critics, 2)))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("hidden_sizes", [(1,), (33,), (20, 64), (64, 20, 33), (16, 16, 16, 16)])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("dropout_rate", [0.0, 0.3])
def test_any_hidden_layers(hidden_sizes: tuple[int, ...], layer_norm: bool, dropout_rate: float) -> None:
    for count in (1, 3):
        torch.set_num_threads(count)
        assert_same(spec(hidden_sizes=hidden_sizes, layer_norm=layer_norm, dropout_rate=dropout_rate))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("mode", ["min", "ave", "rem"])
def test_target_modes_of_several_passes(mode: str) -> None:
    torch.set_num_threads(2)
    assert_same(spec(target_mode=mode, target_passes=3, num_critics=4, num_min=2.5 if mode == "min" else 4))


def test_the_same_twice() -> None:
    once, again = state_of(spec(dtype=torch.float32)), state_of(spec(dtype=torch.float32))
    for state in (once, again):
        CriticUpdates(spec(dtype=torch.float32))(*state.values(), *arguments_of(spec(dtype=torch.float32)))  # type: ignore[arg-type]
    assert all(torch.equal(once[name], again[name]) for name in STATE)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("where", ["reward", "target", "critic"])
def test_nan_shows(where: str, layer_norm: bool) -> None:
    """A seed that diverges must be seen to, and must leave the other alone."""
    small = spec(layer_norm=layer_norm)
    state, arguments = state_of(small), arguments_of(small)
    clean = {name: tensor.clone() for name, tensor in state.items()}
    CriticUpdates(small)(*clean.values(), *arguments)  # type: ignore[arg-type]
    broken = arguments[2] if where == "reward" else state[where]
    assert isinstance(broken, torch.Tensor)
    broken[1] = torch.nan
    CriticUpdates(small)(*state.values(), *arguments)  # type: ignore[arg-type]
    assert state["sums"][1, 0].isnan()
    assert state["critic"][1].isnan().any()
    assert all(torch.equal(state[name][0], clean[name][0]) for name in STATE)


@needs_bf16
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [1, 3])
def test_factors_in_bf16_are_rounded_to_the_nearest_but_the_first_layers(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums in another order now and then round a factor to its other neighbour, so the two are not equal. But they are
    far nearer to each other than to full precision, which one factor left unrounded would already move them to."""
    torch.set_num_threads(count)
    small = spec(dtype=torch.float32, utd_ratio=1, batch_size=64, actor_heads=2)
    linear = networks.linear

    def first_in_full(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        is_first = weight.shape[-2] in (small.obs_dim, small.obs_dim + small.act_dim)
        if is_first:
            return linear(x, weight)
        product: torch.Tensor = Rounded.apply(x.flatten(0, 1), weight.flatten(0, 1))
        return product.unflatten(0, weight.shape[:2])

    full, native = after_a_step(small, native=False), after_a_step(replace(small, bf16=True), native=True)
    monkeypatch.setattr(networks, "linear", first_in_full)
    rounded = after_a_step(small, native=False)
    for name in ("critic_moment1", "actor_moment1"):
        expected = getattr(rounded, name)
        rounding = (expected - getattr(full, name)).norm()
        assert rounding > 0
        assert (getattr(native, name) - expected).norm() < 0.1 * rounding


class Rounded(torch.autograd.Function):
    """A batched matrix multiplication of factors in bf16, in both directions; sums are in full."""

    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.bmm(in_bf16(x), in_bf16(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        x, weight = map(in_bf16, ctx.saved_tensors)
        gradient = in_bf16(gradient)
        return torch.bmm(gradient, weight.mT), torch.bmm(x.mT, gradient)


def in_bf16(factor: torch.Tensor) -> torch.Tensor:
    return factor.bfloat16().to(factor.dtype)


def after_a_step(spec: LearnerSpec, *, native: bool) -> LearnerState:
    """The state of a fresh learner after the updates of one environment step."""
    seeds, device = [4, 9], torch.device("cpu")
    state = LearnerState.initial(spec, seeds, device)
    learner = Learner(spec, state, torch.tensor([[1.0, 0.5], [0.0, 0.1]]), NATIVE if native else EAGER)
    draws = DrawSampler(spec, seeds, device, keyed=native).draw(100)
    rows = torch.randn(
        spec.seeds, spec.utd_ratio, spec.batch_size, spec.row_size, generator=torch.Generator().manual_seed(3)
    )
    learner.run(learner.program(), rows, draws)
    return state


@pytest.mark.usefixtures("threads")
def test_moments_of_dead_units_end_at_zero_and_only_there() -> None:
    """Numbers below 1e-38 would make every Adam step ten times as slow; elsewhere in the process they stay."""
    torch.set_num_threads(2)
    small = spec(dtype=torch.float32, dropout_rate=0.0, layer_norm=False)
    state = state_of(small)
    for name in ("critic", "target", "moment1", "moment2"):
        state[name].zero_()
    state["moment1"].fill_(1e-40)  # with all weights 0, only the output bias has a gradient
    CriticUpdates(small)(*state.values(), *arguments_of(small))  # type: ignore[arg-type]
    assert (state["moment1"] == 0).sum() == state["moment1"].numel() - small.seeds * small.num_critics
    assert torch.tensor(1e-40) * 0.5 != 0
    assert (torch.full((100_000,), 1e-40) * 0.5 != 0).all()  # in the other threads


@pytest.fixture
def quick_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for the compiler where its result is not loaded: the real one takes seconds."""
    monkeypatch.setenv("CXX", str(script(tmp_path, 'while [ "$1" != -o ]; do shift; done; sleep 0.3; echo > "$2"')))


def script(directory: Path, text: str) -> Path:
    """A ``g++`` in ``directory`` that compiles by these lines of shell."""
    path = directory / "g++"
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit\n{text}\n')
    path.chmod(0o755)
    return path


@pytest.mark.program
def test_a_machine_where_it_cannot_be_built_says_so_and_trains(tmp_path: Path) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in *updates.cpp*) echo "no such thing" >&2; exit 1;; esac\nexec g++ "$@"\n'
    )
    compiler.chmod(0o755)
    program = (
        "from droq_exp.training import hardware; from droq_exp.config import compose;"
        "config, _ = compose(['hardware=cpu', 'hardware.threads=1']);"
        "m = hardware.set_up(config); hardware.set_up(config);"
        "print(m.backend.name)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "CXX": str(compiler)}
    done = forks.run([sys.executable, "-c", program], check=True, env=environment)
    assert done.stdout == "compile\n"
    assert done.stderr == f"updates: compile, not this project's C++: {compiler} failed: no such thing\n"


@pytest.mark.usefixtures("quick_compiler")
def test_one_build_serves_all_processes(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    program = "from droq_exp.learner.native.build import Variant, shared_object; shared_object(Variant(True, True))"
    processes = [subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(list(Path(tmp_path, "droq_exp").iterdir())) == 1


def test_a_compiler_that_does_not_start_is_a_build_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text("no program\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    start(Variant(dropout=True, layer_norm=True))  # says nothing yet
    with pytest.raises(BuildError, match="Exec format error"):
        shared_object(Variant(dropout=True, layer_norm=True))


@pytest.mark.usefixtures("quick_compiler")
def test_what_a_killed_process_has_left_is_removed_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, age in (("old", 4000), ("new", 3000)):
        left = tmp_path / "droq_exp" / f".building_{name}"
        left.mkdir(parents=True)
        (left / "updates.so").touch()
        os.utime(left, (time.time() - age,) * 2)
    made = shared_object(Variant(dropout=False, layer_norm=False))
    assert sorted(path.name for path in (tmp_path / "droq_exp").iterdir()) == [".building_new", made.name]


def test_a_compiler_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = "from droq_exp.learner.native.build import Variant, start; start(Variant(True, True))"
    compiler = script(tmp_path, "exec sleep 100")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "CXX": str(compiler)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    assert list((tmp_path / "droq_exp").iterdir()) == []


@pytest.mark.usefixtures("quick_compiler")
def test_a_damaged_library_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loading it would crash the process, or end in slow updates for ever."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    variant = Variant(dropout=True, layer_norm=True)

    def build_in_a_new_process() -> Path:
        monkeypatch.setattr(build, "_begun", {})
        return shared_object(variant)

    path = build_in_a_new_process()
    whole = path.read_bytes()
    assert capsys.readouterr().err == ""
    for damaged in (b"", whole[:-5], whole[: len(whole) // 2], bytes(len(whole)), bytes([whole[0] ^ 1]) + whole[1:]):
        path.write_bytes(damaged)
        assert build_in_a_new_process() == path
        assert path.read_bytes() == whole
        assert capsys.readouterr().err == f"{path} is damaged: it is compiled again\n"
    monkeypatch.setattr(build, "_begun", {})
    path.write_bytes(shared_object(Variant(dropout=False, layer_norm=False)).read_bytes())  # whole, but another's
    assert build_in_a_new_process() == path
    assert path.read_bytes() == whole
    assert capsys.readouterr().err == f"{path} is damaged: it is compiled again\n"
    path.write_bytes(damaged)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match="no C\\+\\+ compiler found"):
        build_in_a_new_process()


@pytest.mark.usefixtures("quick_compiler")
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    no_directory = tmp_path / "cache"
    no_directory.write_text("")
    program = (
        "from droq_exp.learner.native.build import Variant, shared_object; print(shared_object(Variant(True, True)))"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(no_directory), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    made = Path(done.stdout.strip())
    assert made.suffix == ".so"
    assert made.is_relative_to(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["cache", "g++"]  # what was made for one process goes with it


@pytest.mark.program
def test_compilers_start_before_torch_is_loaded_and_inductor_never_is(tmp_path: Path) -> None:
    """Torch takes a second to load, and its compiler another one that a run by the C++ has no use for."""
    program = (
        "import sys; from droq_exp.launch import main; import droq_exp.learner.native.early_build as early;"
        "begin = early.begin; early.begin = lambda config: (begin(config), print('begin', 'torch' in sys.modules));"
        "import atexit; loaded = lambda *names: [name in sys.modules for name in names];"
        "atexit.register(lambda: print('end', *loaded('torch._inductor', 'torch')));"
        "main(['env=inverted_pendulum', 'hardware=cpu', 'hardware.threads=1', 'training.total_steps=60',"
        " 'training.start_steps=50', 'eval.interval=60'])"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    assert done.stdout.splitlines()[0] == "begin False"
    assert done.stdout.splitlines()[-1] == "end False True"
    assert [path.suffix for path in Path(tmp_path, "droq_exp").iterdir()] == [".so"]
