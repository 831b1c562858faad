"""Compile this project's C++ on the machine where it runs, once per user and kind of critic.

Nothing here needs torch, so that compilers can work while torch is being loaded.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

SOURCE = Path(__file__).parent / "updates.cpp"
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


class BuildError(Exception):
    """Why this machine cannot run the C++ part, in a line."""


class Critics(Protocol):
    """What says how critics are made: an algorithm's configuration, or a learner's spec."""

    @property
    def dropout_rate(self) -> float: ...  # noqa: D102
    @property
    def layer_norm(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class Variant:
    """What the sources are compiled for; one library for everything would take twice as long to compile."""

    dropout: bool  # of the critics
    layer_norm: bool  # of the critics
    scalar: str = "float"  # C++'s name for the type of all numbers

    @classmethod
    def of(cls, critics: Critics, scalar: str = "float") -> Variant:
        """Return the one that these critics need."""
        return cls(critics.dropout_rate > 0, critics.layer_norm, scalar)

    @property
    def macros(self) -> list[str]:
        """The compiler's arguments that ``layers.h`` asks for."""
        values = {"SCALAR": self.scalar, "CRITIC_DROPOUT": self.dropout, "CRITIC_LAYER_NORM": self.layer_norm}
        return [f"-D{name}={str(value).lower()}" for name, value in values.items()]


# Compilations of this process, by what they make.
_running: dict[Path, Future[None]] = {}
_pool = ThreadPoolExecutor(1, thread_name_prefix="compiler")


def start(variant: Variant) -> None:
    """Begin to compile what is missing, and return at once; :func:`shared_object` tells how it went."""
    with suppress(BuildError):
        command, path = _target(variant)
        if path not in _running and not path.exists():
            _running[path] = _pool.submit(_compile, command, path)


def shared_object(variant: Variant) -> Path:
    """Return the compiled library, when there is one.

    Raises:
        BuildError: it cannot be compiled here.

    """
    start(variant)
    _, path = _target(variant)
    if path in _running:
        _running[path].result()
    return path


def _target(variant: Variant) -> tuple[list[str], Path]:
    """Return the compiler's command, and where its result is kept.

    That is in the user's cache directory, under a name that depends on sources, compiler, flags and CPU.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise BuildError("no C++ compiler found")
    command = [compiler, *FLAGS, *variant.macros]
    parts = [_sources(), " ".join(command).encode(), _version(compiler), _cpu()]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    return [*command, str(SOURCE)], _cache_directory() / f"updates-{key}.so"


def _compile(command: list[str], path: Path) -> None:
    """Compile aside and rename, for several processes may want the same at once."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building_") as directory:
            built = Path(directory, path.name)
            done = subprocess.run([*command, "-o", str(built)], capture_output=True, text=True, check=False)
            if done.returncode:
                message = (done.stderr.strip().splitlines() or ["no message"])[0]
                raise BuildError(f"{command[0]} failed: {message}")
            if not path.exists():  # another machine's process may have the first one loaded
                os.replace(built, path)
    except OSError as error:
        raise BuildError(f"{path.parent}: {error.strerror}") from error


def _cache_directory() -> Path:
    """Return the user's cache directory for this project, or one of this process alone where that cannot be written."""
    with suppress(OSError, RuntimeError):  # the latter where there is no home
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "droq_exp")
        cache.mkdir(parents=True, exist_ok=True)
        if os.access(cache, os.W_OK | os.X_OK):
            return cache
    return Path(_own_directory().name)


@lru_cache
def _own_directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="droq_exp_")


@lru_cache
def _sources() -> bytes:
    return b"".join(path.read_bytes() for path in (SOURCE, *sorted(SOURCE.parent.glob("*.h"))))


@lru_cache
def _version(compiler: str) -> bytes:
    return subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout


@lru_cache
def _cpu() -> bytes:
    """Return what tells this CPU's instructions from another's: a home directory may be shared by many machines."""
    lines = Path("/proc/cpuinfo").read_bytes().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")
