"""A real SLURM on this machine, started once for all tests here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sweep import Sweep

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "scripts" / "local_slurm.sh"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Its directory; SLURM's commands and the processes started by tests find it by the environment."""
    sbin = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    installed = all(shutil.which(name, path=sbin) for name in ("slurmctld", "slurmd", "munged"))
    if not os.environ.get("CI") and (os.geteuid() != 0 or not (installed or shutil.which("apt-get"))):
        pytest.skip(
            "SLURM's daemons are not installed, or not for us to start: needs root and Debian's slurm-wlm, munge"
        )
    directory = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPT, "start", directory], check=True, timeout=300, stdout=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(directory / "etc" / "slurm.conf"))
        patch.setenv("PATH", f"{directory / 'bin'}{os.pathsep}{sbin}")
        yield directory
        subprocess.run([SCRIPT, "stop", directory], check=True, timeout=60)


@pytest.fixture
def sweep(cluster: Path, tmp_path: Path) -> Iterator[Sweep]:
    """Sweeps in an empty current directory; what is left of their jobs is cancelled at the end."""
    sweep = Sweep(tmp_path)
    yield sweep
    sweep.end()
