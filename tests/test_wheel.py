"""The built wheel has all that the program needs; installed, it trains from an empty directory into ``outputs/``."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from droq_exp.config.files import conf_directory

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT)], ROOT)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; its dependencies are those of this interpreter, but for this checkout.

    Where the checkout is installed as editable, a ``.pth`` file names it; such files count in one's own site only.
    """
    directory = tmp_path_factory.mktemp("environment")
    _run([sys.executable, "-m", "venv", "--without-pip", str(directory)], directory)
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (_site(directory) / "dependencies.pth").write_text("\n".join(places))
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--ignore-installed", str(wheel)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(directory / "bin" / "python")]
    _run([*pip, *install], directory)
    return directory


def _site(environment: Path) -> Path:
    (found,) = environment.glob("lib/python*/site-packages")
    return found


def _run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 2), done.stderr
    return done


def test_the_wheel_holds_the_configuration_and_the_plugin(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {path.relative_to(conf_directory()) for path in conf_directory().rglob("*.yaml")}
    assert {f"droq_exp/conf/{path.as_posix()}" for path in files} <= names
    assert {
        "hydra_plugins/droq_exp_sweeper/sweeper.py",
        "hydra_plugins/droq_exp_launcher/launcher.py",
    } <= names
    assert {name.partition("/")[0] for name in names} <= {"droq_exp", "hydra_plugins"} | {
        name.partition("/")[0] for name in names if ".dist-info/" in name
    }


def test_the_constraints_are_within_what_the_project_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    versions = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(line for extra in extras if extra not in ("sbx", "robopianist") for line in extras[extra]),
    ]
    for requirement in map(Requirement, asked):
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Sources of the C++ and digests of the code they stand for, a robot, the report's templates, published curves."""
    package = ROOT / "droq_exp"
    files = {path.relative_to(ROOT).as_posix() for path in package.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    kinds = (".cpp", ".h", "native/digests.json", "quadruped.xml", ".j2", ".js", ".css", "curves.csv", "py.typed")
    assert [kind for kind in kinds if not any(name.endswith(kind) for name in files)] == []
    assert sorted(files - set(zipfile.ZipFile(wheel).namelist())) == []


def test_the_wheel_is_what_runs(environment: Path, tmp_path: Path) -> None:
    where = "import droq_exp.config.files as files; print(files.conf_directory())"
    python, train, program = (str(environment / "bin" / name) for name in ("python", "droq-exp-train", "droq-exp"))
    assert _run([python, "-c", where], tmp_path).stdout.strip() == str(_site(environment) / "droq_exp" / "conf")
    assert " sync " in _run([program, "--help"], tmp_path).stdout
    printed = _run([train, "--cfg", "job", "env=ant", "codebase=ku"], tmp_path).stdout
    assert yaml.safe_load(printed)["env"]["id"] == "Ant-v5"
    planned = _run([program, "plan", "experiment=smoke_run"], tmp_path).stdout
    assert planned.splitlines()[-1] == "1 run would be trained here, one after another"
    refused = _run([train, "-m", "algo=sac,drok"], tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert os.listdir(tmp_path) == []


def test_a_sweep_from_the_wheel_leaves_outputs_only(environment: Path, tmp_path: Path) -> None:
    tiny = ["debug=default", "training.total_steps=60", "env=inverted_pendulum", "hardware.threads=1"]
    done = _run([str(environment / "bin" / "python"), "-m", "droq_exp", "-m", *tiny, "seed=0,1"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == ["outputs"]
    finished = sorted(path.name for path in (tmp_path / "outputs").glob("debug/redq/droq/*/seed_*"))
    assert finished == ["seed_0", "seed_1"]
