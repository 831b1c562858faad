"""``hardware.precision=bf16``: what is rounded, what is refused, and that it makes another run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from real_runs import launch, runs

from droq_exp.config import ConfigError, compose
from droq_exp.cores import has_bf16
from droq_exp.hardware import set_up

needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this CPU has no bf16 instructions")
BF16 = ("hardware=cpu", "hardware.precision=bf16", "hardware.threads=1")


@pytest.fixture(autouse=True)
def precision() -> Iterator[None]:
    """What is set up holds for the process."""
    yield
    torch.set_float32_matmul_precision("highest")


@needs_bf16
def test_factors_are_rounded_and_sums_are_not() -> None:
    config, _ = compose([*BF16, "hardware.compile=false"])
    set_up(config)
    ones = torch.ones(64, 64)
    fine = torch.full((64, 64), 1 + 2**-12)  # 1 in bf16, which has eight bits
    assert torch.equal(ones @ fine, torch.full((64, 64), 64.0))
    thirds = torch.full((64, 64), 1 + 2**-7)  # exact in bf16, and so is their sum in float32, not in bf16
    assert torch.equal(ones @ thirds, torch.full((64, 64), 64.5))
    config, _ = compose(["hardware=cpu", "hardware.threads=1", "hardware.compile=false"])
    set_up(config)
    assert torch.equal(ones @ fine, torch.full((64, 64), 64 * (1 + 2**-12)))


@needs_bf16
@pytest.mark.usefixtures("elsewhere")
def test_it_is_another_run_with_results_of_its_own() -> None:
    assert launch() == 0
    assert launch("hardware.precision=bf16") == 0
    plain, rounded = sorted(runs(), key=lambda run: "hardware.precision" in (run / "config.yaml").read_text())
    first, second = (torch.load(run / "checkpoint" / "weights.pt", weights_only=True) for run in (plain, rounded))
    assert not torch.equal(first["critic"], second["critic"])
    assert torch.allclose(first["critic"], second["critic"], atol=0.05)


def test_a_cpu_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    with pytest.raises(ConfigError, match="no bf16 instructions") as refusal:
        compose([*BF16])
    assert refusal.value.key == "hardware.precision"
    config, _ = compose(["hardware=slurm_cpu", "hardware.precision=bf16"])  # the job looks, on its own node
    with pytest.raises(RuntimeError, match="has no bf16"):
        set_up(config)
