"""``droq-exp build`` makes libraries that machines without a compiler use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import forks
import pytest
from run_files import ENVIRONMENT, PROGRAM

from droq_exp.learner.native.build import Variant, shared_object

pytestmark = pytest.mark.program


def run(cache: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, "XDG_CACHE_HOME": str(cache), **variables}
    return forks.run([*command], env=environment)


@pytest.fixture
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for g++, which takes seconds for each: copies what g++ has made before for the same critics."""
    path = tmp_path_factory.mktemp("bin") / "g++"
    lines = ["#!/bin/sh", '[ "$1" = --version ] && exit', 'for made; do :; done; case "$*" in']
    for variant in (Variant(dropout, norm) for dropout in (False, True) for norm in (False, True)):
        lines.append(f'*"{" ".join(variant.macros)}"*) cp {shared_object(variant)} "$made";;')
    path.write_text("\n".join([*lines, "esac"]))
    path.chmod(0o755)
    return path


def test_what_was_built_serves_a_machine_without_a_compiler(tmp_path: Path, compiler: Path) -> None:
    built = run(tmp_path, *PROGRAM, "build", CXX=str(compiler))
    assert built.returncode == 0, built.stderr
    libraries = sorted(map(Path, built.stdout.split()))
    assert libraries == sorted((tmp_path / "droq_exp").iterdir())
    assert len(libraries) == 4
    program = (
        "from droq_exp.learner.backend import backend_for; from droq_exp.learner.spec import LearnerSpec;"
        "print(backend_for(LearnerSpec(1, 3, 1, layer_norm=True), 'cpu', 'native').library)"
    )
    found = run(tmp_path, sys.executable, "-c", program, CXX="no-such-compiler")
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() in {path.name for path in libraries}


def test_without_a_compiler_it_says_so_in_a_line(tmp_path: Path) -> None:
    done = run(tmp_path, *PROGRAM, "build", CXX="no-such-compiler")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no C++ compiler found" in done.stderr
