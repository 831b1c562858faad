"""What SLURM's words for the state of a job mean: whether it waits, holds nodes, or is over (squeue's manual)."""

from __future__ import annotations

from typing import Literal

Fate = Literal["waiting", "on a node", "over"]

FATES: dict[str, Fate] = {
    **dict.fromkeys(("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"), "waiting"),
    # Processes of these may still write, those of COMPLETING and SUSPENDED too.
    **dict.fromkeys(("RUNNING", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING"), "on a node"),
    **dict.fromkeys(("STAGE_OUT", "STOPPED", "SUSPENDED"), "on a node"),
    **dict.fromkeys(("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"), "over"),
    # REVOKED: a sibling in a federation runs instead, on another cluster.
    **dict.fromkeys(("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"), "over"),
}


def fate(state: str) -> Fate:
    """What a state means; one that no version had yet counts as on a node, so that nobody takes its run over."""
    return FATES.get(state, "on a node")
