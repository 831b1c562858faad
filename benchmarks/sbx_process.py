"""SBX in a process of its own, by the interpreter that has it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from benchmarks import sbx_driver
from droq_exp.cli.errors import RefusedError


class Sbx:
    """SBX in another process, warmed up."""

    def __init__(self, process: subprocess.Popen[str], errors: TextIO) -> None:
        """Use :func:`start_sbx`; ``errors`` is where the process writes them."""
        self._process, self._errors = process, errors
        self.versions: dict[str, str] = self._answer()["versions"]

    def ask(self, what: str, count: int) -> Any:
        """Have it make ``count`` environment steps of ``updates`` or ``loop``; return its seconds.

        Raises ChildProcessError, one line, where it fails.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: the answer says of what
            self._process.stdin.write(f"{what} {count}\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            raise ChildProcessError(said[-1] if said else f"SBX ended with code {self._process.returncode}")
        return json.loads(line)


@contextmanager
def start_sbx(python: str, settings: dict[str, Any], device: str) -> Iterator[Sbx]:
    """Start SBX on ``settings`` (see :mod:`benchmarks.sbx_driver`), where this project runs on ``device``.

    Raises:
        RefusedError: ``python`` cannot be run, or does not have SBX.
        ChildProcessError: it failed otherwise.

    """
    # -P: this package's files are no modules of that interpreter's.
    command = [python, "-P", str(Path(sbx_driver.__file__)), json.dumps(settings)]
    pipe = subprocess.PIPE
    variables = {**os.environ, **({"JAX_PLATFORMS": "cpu"} if device == "cpu" else {})}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        try:
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=variables)
        except OSError as error:
            raise RefusedError(f"--python: {python} cannot be run: {error.strerror}") from error
        with process:
            try:
                sbx = Sbx(process, errors)
            except ChildProcessError as error:
                if process.returncode == sbx_driver.NOT_INSTALLED:
                    advice = "pip install 'droq-exp[sbx]', or name the python of an environment that has it"
                    raise RefusedError(f"--python: {python} has no SBX ({error}); {advice}") from error
                raise
            yield sbx
