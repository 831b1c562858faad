"""``hardware.precision=bf16``: what is rounded, what is refused, and that it makes another run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from real_runs import launch, runs, start

from droq_exp.config import ConfigError, compose
from droq_exp.cpu import has_bf16
from droq_exp.training.hardware import set_up

needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this CPU has no bf16 instructions")
BF16 = ("hardware=cpu", "hardware.precision=bf16", "hardware.threads=1")


@needs_bf16
def test_torch_beside_the_updates_rounds_nothing() -> None:
    """Acting, evaluation and bias: a pack, or episodes played side by side, must act as one seed alone does."""
    config, _ = compose(BF16)
    machine = set_up(config)
    assert machine.backend.name == "native"
    ones, fine = torch.ones(64, 64), torch.full((64, 64), 1 + 2**-12)  # the latter is 1 in bf16, which has eight bits
    assert torch.equal(ones @ fine, torch.full((64, 64), 64 * (1 + 2**-12)))


@needs_bf16
@pytest.mark.parametrize("updates", ["compile", "eager"])
def test_without_the_cpp_it_is_refused(updates: str) -> None:
    with pytest.raises(ConfigError, match=f"does not go with hardware.updates={updates}") as refusal:
        compose([*BF16, f"hardware.updates={updates}"])
    assert refusal.value.key == "hardware.precision"


@needs_bf16
def test_where_the_cpp_cannot_be_built_it_is_refused_in_a_line(elsewhere: Path) -> None:
    process = start(
        elsewhere, *BF16, "hardware.updates=native", CXX="no-such-compiler", XDG_CACHE_HOME=str(elsewhere / "outputs")
    )
    out, error = process.communicate(timeout=300)
    assert process.returncode == 2, out
    assert error.startswith("error: hardware.updates: native cannot make these updates: no C++ compiler found: ")


@needs_bf16
@pytest.mark.usefixtures("elsewhere")
def test_it_is_another_run_with_results_of_its_own() -> None:
    assert launch("hardware.updates=native") == 0
    assert launch("hardware.updates=native", "hardware.precision=bf16") == 0
    plain, rounded = sorted(runs(), key=lambda run: "hardware.precision" in (run / "config.yaml").read_text())
    first, second = (torch.load(run / "checkpoint" / "weights.pt", weights_only=True) for run in (plain, rounded))
    assert not torch.equal(first["critic"], second["critic"])
    assert torch.allclose(first["critic"], second["critic"], atol=0.05)


def test_a_cpu_without_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: of ten years ago\nflags\t\t: fpu sse avx2 avx512f\n")
    monkeypatch.setattr("droq_exp.cpu.CPUINFO", cpuinfo)
    with pytest.raises(ConfigError, match="no bf16 instructions") as refusal:
        compose([*BF16])
    assert refusal.value.key == "hardware.precision"
    config, _ = compose(["hardware=slurm_cpu", "hardware.precision=bf16"])  # the job looks, on its own node
    with pytest.raises(ConfigError, match="has no bf16"):
        set_up(config)
