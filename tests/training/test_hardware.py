"""What is set up before training: instruction checks spared only where nothing is in doubt."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from droq_exp.config import ConfigError, compose
from droq_exp.learner import backend
from droq_exp.learner.compiler import _skip_instruction_checks
from droq_exp.training.hardware import set_up

pytestmark = pytest.mark.program


@pytest.fixture(autouse=True)
def config() -> Iterator[Any]:
    """Inductor's, in which nothing is decided yet; it takes seconds to import."""
    from torch._inductor import config

    with config.patch({"cpp.vec_isa_ok": None}):
        yield config


def test_what_is_trusted_is_what_inductor_finds_by_its_tests(config: Any) -> None:
    from torch._inductor import cpu_vec_isa
    from torch._inductor.cpp_builder import get_cpp_compiler

    tested = cpu_vec_isa.valid_vec_isa_list.__wrapped__()
    _skip_instruction_checks(get_cpp_compiler())
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        assert config.cpp.vec_isa_ok is True
        assert cpu_vec_isa.valid_vec_isa_list.__wrapped__()[0] == tested[0]
    else:
        assert config.cpp.vec_isa_ok is None


def test_a_compiler_that_does_not_know_the_instructions_is_tested_as_ever(config: Any, tmp_path: Path) -> None:
    old = tmp_path / "g++"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    assert subprocess.run([old], check=False).returncode == 1
    _skip_instruction_checks(str(old))
    assert config.cpp.vec_isa_ok is None


@pytest.mark.parametrize(
    ("requested", "critic_updates", "name"),
    [
        ("auto", 1, "native"),  # the C++ is kept per user: no run but the first ever waits for it
        ("native", 20_000, "native"),
        ("compile", 1, "compile"),
        ("eager", 20_000, "eager"),
    ],
)
def test_what_is_requested_makes_the_updates(requested: str, critic_updates: int, name: str) -> None:
    config, _ = compose(["hardware=cpu", f"hardware.updates={requested}"])
    chosen = replace(config.hardware, threads=torch.get_num_threads())
    machine = set_up(replace(config, hardware=chosen), critic_updates)
    assert machine.backend.name == name
    assert machine.description.endswith(f", {name}")


@pytest.mark.parametrize(("critic_updates", "name"), [(19_999, "eager"), (20_000, "compile"), (None, "compile")])
def test_a_run_too_short_for_it_does_without_torch_compile(
    critic_updates: int | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "why_not_native", lambda spec: "it is elsewhere")
    config, _ = compose(["hardware=cpu", "hardware.threads=1"])
    assert set_up(config, critic_updates).backend.name == name


@pytest.mark.parametrize(
    ("overrides", "key", "problem"),
    [
        (["hardware=cpu", "hardware.updates=graphs"], "hardware.updates", "CUDA graphs"),
        (["hardware.updates=fast"], "hardware.updates", "one of auto, native, graphs, compile, eager"),
        (
            ["hardware.compile=false"],
            "hardware.compile",
            "has become hardware.updates: compile for true, eager for false",
        ),
        (["hardware.native=false"], "hardware.native", "has become hardware.updates: auto for true"),
    ],
)
def test_updates_that_cannot_be_had_are_refused(overrides: list[str], key: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refusal:
        compose(overrides)
    assert refusal.value.key == key


TORCH = "import droq_exp.training.hardware"
# The same library without the rest of torch, which takes seconds to import.
OPENMP = (
    "import droq_exp, ctypes, importlib.util, pathlib; torch = pathlib.Path(importlib.util.find_spec('torch').origin);"
    "ctypes.CDLL(str(next((torch.parent / 'lib').glob('libgomp*'))))"
)


@pytest.mark.parametrize(
    ("program", "given", "expected"),
    [
        (TORCH, {}, "2000"),
        (OPENMP, {}, "2000"),
        (OPENMP, {"GOMP_SPINCOUNT": "7"}, "7"),
        (OPENMP, {"OMP_WAIT_POLICY": "active"}, "30000000000"),
    ],
)
def test_waiting_threads_leave_their_core_unless_the_user_says_otherwise(
    program: str, given: dict[str, str], expected: str
) -> None:
    """What torch's OpenMP prints of itself as it is loaded, after the package."""
    others = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**others, **given, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"GOMP_SPINCOUNT = '(\d*)'", done.stderr) == [expected]
