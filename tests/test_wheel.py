"""The built wheel, installed on its own, trains from an empty directory and leaves nothing there but ``outputs/``."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from droq_exp.config.files import conf_directory

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT)], ROOT)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for ``PYTHONPATH`` with the wheel alone; its dependencies are those of this interpreter."""
    directory = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(directory), str(wheel)]
    _run([sys.executable, "-m", "pip", "--disable-pip-version-check", *install], directory)
    return directory


def _run(command: list[str], directory: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": str(site)} if site else {})
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
        "droq_exp/py.typed",
        "droq_exp/report/published_curves.csv",
    } <= names
    assert {name.partition("/")[0] for name in names} <= {"droq_exp", "hydra_plugins"} | {
        name.partition("/")[0] for name in names if ".dist-info/" in name
    }


def test_the_wheel_is_what_runs(site: Path, tmp_path: Path) -> None:
    where = "import droq_exp.config.files as files; print(files.conf_directory())"
    assert _run([sys.executable, "-c", where], tmp_path, site).stdout.strip() == str(site / "droq_exp" / "conf")
    script = str(site / "bin" / "droq-exp-train")
    printed = _run([sys.executable, script, "--cfg", "job", "env=ant", "codebase=ku"], tmp_path, site).stdout
    assert yaml.safe_load(printed)["env"]["id"] == "Ant-v5"
    planned = _run(
        [sys.executable, str(site / "bin" / "droq-exp"), "plan", "experiment=smoke_run"], tmp_path, site
    ).stdout
    assert planned.splitlines()[-1] == "1 run would be trained here, one after another"
    refused = _run([sys.executable, script, "-m", "algo=sac,drok"], tmp_path, site)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert os.listdir(tmp_path) == []


def test_a_sweep_from_the_wheel_leaves_outputs_only(site: Path, tmp_path: Path) -> None:
    tiny = ["debug=default", "training.total_steps=60", "env=inverted_pendulum", "hardware.threads=1"]
    done = _run([sys.executable, "-m", "droq_exp", "-m", *tiny, "seed=0,1"], tmp_path, site)
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == ["outputs"]
    finished = sorted(path.name for path in (tmp_path / "outputs").glob("debug/redq/droq/*/seed_*"))
    assert finished == ["seed_0", "seed_1"]
