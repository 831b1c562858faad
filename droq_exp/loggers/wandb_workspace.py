"""The layout of a wandb project: sections of panels over the metrics that ``droq_exp.loggers`` write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "droq_exp"
MOST_LINES = 100  # groups that a panel shows; wandb's default is 10

# Section -> panels: title, x axis ("Step": environment steps), metrics.
LAYOUT: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "Return": (
        ("Return of the deterministic policy", "Step", ("eval/return_mean",)),
        ("Return by wall-clock seconds", "eval/wall_seconds", ("eval/return_mean",)),
        ("Return of training episodes", "Step", ("train/episode_return_mean",)),
        ("Episode length", "Step", ("eval/length_mean",)),
    ),
    "Bias": (
        ("Q-bias, mean", "Step", ("eval/bias_mean",)),
        ("Q-bias, standard deviation", "Step", ("eval/bias_std",)),
        ("Normalised Q-bias, mean", "Step", ("eval/normalized_bias_mean",)),
        ("Normalised Q-bias, standard deviation", "Step", ("eval/normalized_bias_std",)),
    ),
    "Losses": (
        ("Critic loss", "Step", ("train/critic_loss",)),
        ("Policy loss", "Step", ("train/policy_loss",)),
        ("Temperature loss", "Step", ("train/temperature_loss",)),
        ("Temperature", "Step", ("train/temperature",)),
        ("Mean Q", "Step", ("train/q_mean",)),
        ("Entropy", "Step", ("train/entropy",)),
    ),
    "Throughput": (
        ("Updates per second", "Step", ("train/updates_per_second",)),
        (
            "Seconds by activity, per interval",
            "Step",
            ("train/env_seconds", "train/sample_seconds", "train/update_seconds", "eval/evaluate_seconds"),
        ),
        ("Updates by wall-clock seconds", "train/wall_seconds", ("train/updates",)),
    ),
}
# Of the table of runs, as wandb spells where a value of the configuration is.
COLUMNS = ("experiment_name.value", "codebase.value.name", "algo.value.name", "env.value.id", "seed.value")


def metrics() -> set[str]:
    """All metrics that the layout names."""
    return {name for panels in LAYOUT.values() for _, x, ys in panels for name in (x, *ys)} - {"Step"}


def build(entity: str, project: str) -> Workspace:
    """Make the workspace; nothing is sent before its ``save``.

    Runs are grouped by wandb's group, which is experiment/codebase/algorithm/environment: one line, the mean over the
    seeds with their standard deviation around it.

    Raises:
        ImportError: the package wandb-workspaces is not installed.
    """
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as wr

    def panel(title: str, x: str, ys: tuple[str, ...]) -> Any:
        return wr.LinePlot(
            title=title, x=x, y=list(ys), groupby_aggfunc="mean", groupby_rangefunc="stddev", smoothing_factor=0
        )

    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            ws.Section(name=name, panels=[panel(*each) for each in panels], is_open=True)
            for name, panels in LAYOUT.items()
        ],
        settings=ws.WorkspaceSettings(max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(
            groupby=[ws.Metric("Group")], pinned_columns=[f"config:{column}" for column in COLUMNS]
        ),
    )


def specification(workspace: Workspace) -> dict[str, Any]:
    """What wandb stores of a workspace, as plain values."""
    return workspace._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
