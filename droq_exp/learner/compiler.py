"""Whether torch.compile finds what it needs here."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from functools import lru_cache
from pathlib import Path

import torch


@lru_cache
def missing_for_compile(device_type: str) -> str | None:
    """What torch.compile lacks for ``cpu`` or ``cuda``, in words; None where it lacks nothing."""
    return _missing_for_cpu() if device_type == "cpu" else _missing_for_cuda()


def _missing_for_cpu() -> str | None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        compiler = get_cpp_compiler()
    except InvalidCxxCompiler:
        return "no C++ compiler found"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's C headers are not installed"
    _skip_instruction_checks(compiler)
    return None


def _skip_instruction_checks(compiler: str) -> None:
    """Spare Inductor's tests of each vector instruction set where one look at the compiler answers them.

    Inductor compiles a program for each (6 s of a cold start) and loads it in a process of its own, in every run (1 s).
    What it wants to know is whether torch was built for these instructions, which torch tells, and whether the compiler
    knows the newest of them. Where either is in doubt, Inductor tests as ever.
    """
    from torch._inductor import config, cpu_vec_isa

    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return
    here = set(cpu_vec_isa.x86_isa_checker())
    newest = next((isa for isa in cpu_vec_isa.supported_vec_isa_list if set(str(isa).split()) <= here), None)
    if newest is not None:
        command = [compiler, *newest.build_arch_flags().split(), "-fsyntax-only", "-x", "c++", os.devnull]
        config.cpp.vec_isa_ok = subprocess.run(command, capture_output=True, check=False).returncode == 0 or None


def _missing_for_cuda() -> str | None:
    from torch.utils._triton import has_triton

    return None if has_triton() else "no working Triton found"
