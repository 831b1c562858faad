"""What a run computes on: device, threads, precision, and whether updates are compiled."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from droq_exp.config.errors import ConfigError
from droq_exp.config.schema import Config
from droq_exp.cpu import has_bf16, usable_cores
from droq_exp.learner.native.build import BuildError, Variant, shared_object
from droq_exp.learner.native.library import gemm_address, load

# glibc's mallopt parameters (malloc.h)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

# Critic updates of a run from which torch.compile pays: it takes 20 s where its cache is empty, and then saves 1 ms
# (SAC) to 4 ms (DroQ) of each. The C++ takes 2.5 s once per user, most of them while torch is loaded, and saves more.
WORTH_COMPILING = 20_000

# Torch's name of hardware.precision. Where the C++ learns in bf16, what torch does beside it (acting, bias) does not.
MATMUL_PRECISION = {"fp32": "highest", "tf32": "high", "bf16": "highest"}

_told: set[str] = set()  # problems that this process has warned of


@dataclass(frozen=True)
class Hardware:
    """The resolved hardware of a process."""

    device: str
    compile_updates: bool
    description: str  # for people: device, threads, and whether updates run eagerly
    device_step: bool = False  # acting, random numbers and updates as CUDA graphs
    bf16: bool = False  # the C++ rounds factors
    library: str | None = None  # of the C++, if it is used: its sources, compiler and CPU are in the name

    @property
    def native(self) -> bool:
        """Whether this project's C++ is there to be used."""
        return self.library is not None


def set_up(config: Config, updates: int | None = None) -> Hardware:
    """Apply the thread, precision and memory settings to this process and resolve the device.

    Args:
        config: what is asked for.
        updates: critic updates that the run makes from its first step to its last; None: more than enough to compile.

    Raises:
        RuntimeError: a CUDA device or bf16 instructions are asked for and there are none.
        ConfigError: bf16 is asked for, and this project's C++ cannot be used here.

    """
    asked = config.hardware
    device = asked.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not torch.cuda.is_available():
        raise RuntimeError(f"hardware.device={device}: no CUDA device here")
    if asked.precision == "bf16" and not has_bf16():
        raise RuntimeError("hardware.precision=bf16: this CPU has no bf16 instructions")
    threads = asked.threads or usable_cores()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(MATMUL_PRECISION[asked.precision])
    _keep_freed_memory()
    native = device == "cpu" and asked.wants_native and _can_build(config)
    pays = asked.compile or (asked.compile is None and (updates is None or updates >= WORTH_COMPILING))
    compile_updates = native or (bool(pays) and _can_compile(device))
    words = f"cpu, {threads} threads" if device == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})"
    words = words if compile_updates else f"{words}, eager"
    library = shared_object(Variant.of(config.algo)).name if native else None
    return Hardware(device, compile_updates, words, device != "cpu", asked.precision == "bf16", library)


def _can_compile(device: str) -> bool:
    """Whether torch.compile finds what it needs here; where it does not, say so once in this process."""
    missing = _missing_for_cpu() if device == "cpu" else _missing_for_cuda()
    if missing:
        _warn(missing, "torch.compile")
    return not missing


def _can_build(config: Config) -> bool:
    """Whether this project's C++ can be used here; where it cannot, say so once in this process."""
    bf16 = config.hardware.precision == "bf16"
    problem = _missing_for_native(Variant.of(config.algo), bf16)
    if problem and bf16:
        raise ConfigError("hardware.precision", f"bf16 is of this project's C++ only; here: {problem}")
    if problem:
        _warn(problem, "this project's C++")
    return problem is None


@lru_cache
def _missing_for_native(variant: Variant, bf16: bool) -> str | None:
    try:
        load(variant)
        gemm_address(torch.float32)
        if bf16:
            gemm_address(torch.bfloat16)
    except BuildError as error:
        return str(error)
    return None


def _warn(problem: str, without: str) -> None:
    """Tell a problem once in this process."""
    if problem not in _told:
        print(f"warning: {problem}: updates run without {without}, more slowly", file=sys.stderr, flush=True)
        _told.add(problem)


@lru_cache
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


@lru_cache
def _missing_for_cuda() -> str | None:
    from torch.utils._triton import has_triton

    return None if has_triton() else "no working Triton found"


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory: activations of megabytes come and go, and each return costs page faults."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
