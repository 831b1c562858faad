"""Compile this project's C++ on the machine where it runs, once per user and kind of critic.

Nothing here needs torch, so that compilers can work while torch is being loaded.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Protocol

from droq_exp.cpu import CPUINFO, instructions

SOURCE = Path(__file__).parent / "updates.cpp"
ASIDE = ".building_"  # how directories of unfinished work begin
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


# At the end of a finished library, before the SHA-256 of it and its name; the loader does not look there. What a full
# disk, a quota or a broken one has cut or changed would otherwise crash every process that loads it.
SEAL = b"droq_exp, whole and of its name: "


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


def variants() -> list[Variant]:
    """Those that runs may need."""
    return [Variant(dropout, layer_norm) for dropout, layer_norm in product((False, True), repeat=2)]


def compiler() -> str | None:
    """Where the C++ compiler is: ``CXX``, or else g++."""
    return shutil.which(os.environ.get("CXX", "g++"))


def built_beforehand(variant: Variant) -> Path | None:
    """The newest whole library in the cache for this CPU and these sources, whatever compiler made it."""
    found = filter(_is_whole, cache_directory().glob(f"updates-{_key(variant)}-*.so"))
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def start(variant: Variant) -> None:
    """Begin to compile what is missing, and return at once; :func:`shared_object` tells how it went."""
    with suppress(BuildError):
        _begin(variant)


def shared_object(variant: Variant) -> Path:
    """Return the compiled library, when there is one.

    Raises:
        BuildError: it cannot be compiled here.

    """
    path = _begin(variant)
    if path in _begun:
        _begun[path].finish()
    return path


class _Compilation:
    """A compiler that works beside this process and is ended with it."""

    def __init__(self, command: list[str], path: Path) -> None:
        """Compile to a directory aside, since several processes may want the same ``path`` at once."""
        self._compiler, self._path = command[0], path
        self._directory = tempfile.TemporaryDirectory(dir=path.parent, prefix=ASIDE)
        self._made = Path(self._directory.name, path.name)
        self._process = subprocess.Popen([*command, "-o", str(self._made)], stderr=subprocess.PIPE, text=True)
        self._problem: str | None = None
        atexit.register(self._end)

    def finish(self) -> None:
        """Wait for the result and put it in its place; raises BuildError, at every call, where there is none."""
        if self._process.returncode is None:
            _, told = self._process.communicate()
            if self._process.returncode:
                self._problem = f"{self._compiler} failed: {(told.strip().splitlines() or ['no message'])[0]}"
            else:
                self._keep()
            self._directory.cleanup()
        if self._problem is not None:
            raise BuildError(self._problem)

    def _keep(self) -> None:
        try:
            if not _is_whole(self._path):  # another machine's process may have the first one loaded
                _seal(self._made, self._path.name)
                os.replace(self._made, self._path)
        except OSError as error:  # a full disk
            self._problem = f"{self._path}: {error.strerror}"

    def _end(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            self._process.communicate()
        self._directory.cleanup()


_begun: dict[Path, _Compilation] = {}  # by this process


def _begin(variant: Variant) -> Path:
    """Begin to compile what is missing; return where it will be."""
    try:
        command, path = _target(variant)
        if path not in _begun and not _is_whole(path):
            if path.exists():
                print(f"{path} is damaged: it is compiled again", file=sys.stderr, flush=True)
            _remove_leftovers(path.parent)
            _begun[path] = _Compilation(command, path)
    except OSError as error:
        raise BuildError(f"{error.filename}: {error.strerror}") from error
    return path


def _target(variant: Variant) -> tuple[list[str], Path]:
    """Return the compiler's command, and where its result is kept.

    That is in the user's cache directory, under a name that depends on sources, flags, CPU and compiler: a home
    directory may be shared by many machines. Where there is no compiler, a library made beforehand serves.
    """
    found = compiler()
    if found is None:
        beforehand = built_beforehand(variant)
        if beforehand is None:
            raise BuildError(
                "no C++ compiler found: install g++, or use what droq-exp build makes on a machine that has one, the "
                "same kind of CPU and your home directory"
            )
        return [], beforehand
    made_by = _digest(found.encode(), version_of(found))[:8]
    path = cache_directory() / f"updates-{_key(variant)}-{made_by}.so"
    return [found, *FLAGS, *variant.macros, str(SOURCE)], path


def _seal(path: Path, name: str) -> None:
    """Append what tells that a library is whole, and is the one that its ``name`` says."""
    digest = hashlib.sha256(path.read_bytes() + name.encode()).digest()
    with open(path, "ab") as file:
        file.write(SEAL + digest)
        file.flush()
        os.fsync(file.fileno())


def _is_whole(path: Path) -> bool:
    """Whether there is a library that is as it was sealed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    content, digest = data[: -len(SEAL) - 32], data[-32:]
    return data[len(content) : -32] == SEAL and hashlib.sha256(content + path.name.encode()).digest() == digest


def _key(variant: Variant) -> str:
    """Sixteen hex digits over all but the compiler."""
    return _digest(_sources(), SEAL, " ".join([*FLAGS, *variant.macros]).encode(), instructions(CPUINFO).encode())[:16]


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@lru_cache
def _sources() -> bytes:
    return b"".join(path.read_bytes() for path in (SOURCE, *sorted(SOURCE.parent.glob("*.h"))))


@lru_cache
def version_of(compiler: str) -> bytes:
    """What ``compiler`` says of itself."""
    return subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout


def _remove_leftovers(cache: Path) -> None:
    """Remove what a process that was killed has left; nobody compiles for an hour."""
    for directory in cache.glob(f"{ASIDE}*"):
        if time.time() - directory.stat().st_mtime > 3600:
            shutil.rmtree(directory, ignore_errors=True)


def cache_directory() -> Path:
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
