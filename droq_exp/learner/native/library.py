"""Load this project's compiled C++, and what it needs of torch."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

import torch

from droq_exp.learner.native.build import BuildError, Variant, shared_object
from droq_exp.learner.spec import LearnerSpec

SCALARS = {torch.float32: "float", torch.float64: "double"}


def library_name(spec: LearnerSpec) -> str:
    """File name of the C++ for this learner; raises BuildError as :func:`load` does."""
    return shared_object(Variant.of(spec, SCALARS[spec.dtype])).name


def library(spec: LearnerSpec) -> ctypes.CDLL:
    """Load the C++ for this learner; raises as :func:`load` does."""
    return load(Variant.of(spec, SCALARS[spec.dtype]))


@lru_cache
def load(variant: Variant) -> ctypes.CDLL:
    """Load the C++ for ``variant``, compiled where it was not yet.

    Raises:
        BuildError: it cannot be compiled here, or does not share torch's threads.

    """
    path = shared_object(variant)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"{path} cannot be loaded: {error}") from error
    if loaded.max_threads() != torch.get_num_threads():
        raise BuildError("the C++ compiler's OpenMP is not torch's")
    return loaded


@lru_cache
def gemm_address(factors: torch.dtype) -> int:
    """Return the address of matrix multiplication in the BLAS that torch carries; of bf16 factors it sums in float32.

    Raises:
        BuildError: torch shows none.

    """
    name = {torch.bfloat16: "gemm_bf16bf16f32_", torch.float32: "sgemm_", torch.float64: "dgemm_"}[factors]
    try:
        blas = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return ctypes.cast(getattr(blas, name), ctypes.c_void_p).value or 0
    except (OSError, AttributeError) as error:
        raise BuildError(f"torch shows no {name}") from error
