"""Another library in a process of its own, by the interpreter that has it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from benchmarks import peer_driver, sbx_driver
from droq_exp.cli.errors import RefusedError


class Peer:
    """A library in another process, warmed up."""

    def __init__(self, process: subprocess.Popen[str], errors: TextIO) -> None:
        """Use :func:`start_peer`; ``errors`` is where the process writes them."""
        self._process, self._errors = process, errors
        self.versions: dict[str, str] = self._answer()["versions"]

    def ask(self, line: str) -> Any:
        """Ask its driver in a line; return the answer. Raises ChildProcessError, one line, where it fails."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: the answer says of what
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            raise ChildProcessError(said[-1] if said else f"it ended with code {self._process.returncode}")
        return json.loads(line)


class NotRunnableError(Exception):
    """The interpreter cannot be run; ``str`` says why."""


class NotInstalledError(Exception):
    """The interpreter does not have the library; ``str`` says what is missing."""


@contextmanager
def start_peer(python: str, driver: Path, settings: Mapping[str, Any], device: str) -> Iterator[Peer]:
    """Start ``driver`` on ``settings`` in an empty directory, where this project runs on ``device``; end it at last.

    Raises:
        NotRunnableError: ``python`` cannot be run.
        NotInstalledError: it does not have the library.
        ChildProcessError: it failed otherwise.

    """
    # -P: this package's files are no modules of that interpreter's.
    command = [python, "-P", str(driver), json.dumps(settings)]
    pipe = subprocess.PIPE
    variables = {**os.environ, **({"JAX_PLATFORMS": "cpu"} if device == "cpu" else {})}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors, tempfile.TemporaryDirectory() as place:
        options: dict[str, Any] = {"text": True, "env": variables, "cwd": place}
        try:
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, **options)
        except OSError as error:
            raise NotRunnableError(f"{python} cannot be run: {error.strerror}") from error
        with process:
            try:
                peer = Peer(process, errors)
            except ChildProcessError as error:
                if process.returncode in (sbx_driver.NOT_INSTALLED, peer_driver.NOT_INSTALLED):
                    raise NotInstalledError(str(error)) from error
                raise
            yield peer


@contextmanager
def start_sbx(python: str, settings: Mapping[str, Any], device: str) -> Iterator[Peer]:
    """Start SBX on ``settings`` (see :mod:`benchmarks.sbx_driver`), where this project runs on ``device``.

    Raises:
        RefusedError: ``python`` cannot be run, or does not have SBX.
        ChildProcessError: it failed otherwise.

    """
    try:
        with start_peer(python, Path(sbx_driver.__file__), settings, device) as sbx:
            yield sbx
    except NotInstalledError as error:
        advice = "pip install 'droq-exp[sbx]', or name the python of an environment that has it"
        raise RefusedError(f"--python: {python} has no SBX ({error}); {advice}") from error
    except NotRunnableError as error:
        raise RefusedError(f"--python: {error}") from error
