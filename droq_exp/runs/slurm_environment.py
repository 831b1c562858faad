"""The environment in which SLURM's programs are called: it says where the cluster is and asks for nothing else."""

from __future__ import annotations

import os

# Variables that ask for something in a command's place: those of the job in which it itself runs, options of sbatch and
# srun, which a job inherits, and filters and formats of what asks the queue, by which a job that runs looks gone.
ASKING = (
    *("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_", "PMI", "SUBMITIT_"),
    *("SQUEUE_", "SCANCEL_", "SINFO_", "SCONTROL_", "SACCT_"),
)
POINTING = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")  # which cluster is meant, and who asks


def asking() -> dict[str, str]:
    """The variables that SLURM's programs are not to see."""
    return {name: value for name, value in os.environ.items() if name.startswith(ASKING) and name not in POINTING}


def plain_environment() -> dict[str, str]:
    """The environment without them."""
    left_out = asking()
    return {name: value for name, value in os.environ.items() if name not in left_out}
