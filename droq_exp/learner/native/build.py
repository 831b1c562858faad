"""Compile this project's C++ on the machine where it runs, once per user, and load it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import torch

SOURCES = Path(__file__).parent
# As fast as -ffast-math on these sums, but infinities and NaN stay what they are (a diverged run must show), and
# loading the library does not change how the process treats denormal numbers (layers.h does, while an update runs).
FLAGS = [
    "-std=c++20",
    "-O2",  # with vectors where they pay: as fast as -O3 here, in two thirds of the compile time
    "-ftree-vectorize",
    "-fvect-cost-model=dynamic",
    "-march=native",
    *(["-mprefer-vector-width=512"] if platform.machine() in ("x86_64", "AMD64") else []),
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-freciprocal-math",
    "-fopenmp",
    "-shared",
    "-fPIC",
]
SCALARS = {torch.float32: "float", torch.float64: "double"}


def applies(device: torch.device) -> bool:
    """Whether the C++ does what the process asks of matrix multiplications: on CPU, in full precision or bf16."""
    return device.type == "cpu" and torch.get_float32_matmul_precision() in ("highest", "medium")


def rounds_to_bf16(dtype: torch.dtype) -> bool:
    """Whether the process asks for factors rounded to bf16, with sums in float32."""
    return dtype == torch.float32 and torch.get_float32_matmul_precision() == "medium"


class BuildError(Exception):
    """Why this machine cannot run the C++ part, in a line."""


def build(names: Sequence[str], dtype: torch.dtype) -> None:
    """Compile what is missing of several sources side by side, and load all: :func:`library` then has them at once."""
    missing = [(command, path) for command, path in (_target(name, dtype) for name in names) if not path.exists()]
    if missing:
        with ThreadPoolExecutor(len(missing)) as pool:
            list(pool.map(_compile, *zip(*missing, strict=True)))
    for name in names:
        library(name, dtype)


@lru_cache
def library(name: str, dtype: torch.dtype) -> ctypes.CDLL:
    """Load ``<name>.cpp``, compiled for numbers of ``dtype``.

    Raises:
        BuildError: it cannot be compiled here, or does not share torch's threads.

    """
    command, path = _target(name, dtype)
    if not path.exists():
        _compile(command, path)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"{path} cannot be loaded: {error}") from error
    if loaded.max_threads() != torch.get_num_threads():
        raise BuildError("the C++ compiler's OpenMP is not torch's")
    return loaded


@lru_cache
def gemm_address(dtype: torch.dtype, *, bf16: bool) -> int:
    """Return the address of matrix multiplication in the BLAS that torch carries, ``bf16`` with factors in bf16.

    Raises:
        BuildError: torch shows none.

    """
    name = "gemm_bf16bf16f32_" if bf16 else {torch.float32: "sgemm_", torch.float64: "dgemm_"}[dtype]
    try:
        blas = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return ctypes.cast(getattr(blas, name), ctypes.c_void_p).value or 0
    except (OSError, AttributeError) as error:
        raise BuildError(f"torch shows no {name}") from error


def _target(name: str, dtype: torch.dtype) -> tuple[list[str], Path]:
    """Return the compiler's command for ``<name>.cpp``, and where its result is kept.

    That is in torch.compile's cache directory, under a name that depends on source, compiler, flags and CPU.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    try:
        compiler = get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise BuildError("no C++ compiler found") from error
    main = SOURCES / f"{name}.cpp"
    source = b"".join(path.read_bytes() for path in (main, *sorted(SOURCES.glob("*.h"))))
    command = [compiler, *FLAGS, f"-DSCALAR={SCALARS[dtype]}"]
    key = hashlib.sha256(b"\0".join([source, " ".join(command).encode(), _version(compiler), _cpu()])).hexdigest()[:16]
    return [*command, str(main)], Path(cache_dir(), "droq_exp", f"{name}-{key}.so")


def _compile(command: list[str], path: Path) -> None:
    """Compile aside and rename, for several processes may want the same library at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building_") as directory:
        built = Path(directory, path.name)
        done = subprocess.run([*command, "-o", str(built)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['no message'])[0]}")
        os.replace(built, path)


@lru_cache
def _version(compiler: str) -> bytes:
    return subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout


@lru_cache
def _cpu() -> bytes:
    """Return what tells this CPU's instructions from another's: a home directory may be shared by many machines."""
    lines = Path("/proc/cpuinfo").read_bytes().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")
