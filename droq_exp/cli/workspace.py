"""``droq-exp workspace``: give a wandb project the layout of ``droq_exp.loggers.wandb_workspace``."""

from __future__ import annotations

import json
from pathlib import Path

from droq_exp.cli.errors import RefusedError
from droq_exp.cli.wandb_server import check_server
from droq_exp.loggers.wandb_workspace import build, specification
from droq_exp.runs.files import write_atomically


def workspace(entity: str, project: str, json_file: Path | None) -> None:
    """Save a new view in wandb's project, or write it to ``json_file`` without touching the network.

    Raises:
        RefusedError: wandb-workspaces is not installed, the file cannot be written, or wandb cannot be used.
    """
    try:
        view = build(entity, project)
    except ImportError as error:
        way = "pip install 'droq-exp[workspace]' installs it"
        raise RefusedError(f"workspace needs {error.name}, which is not installed; {way}") from error
    if json_file is not None:
        try:
            write_atomically(json_file, json.dumps(specification(view), indent=2) + "\n")
        except OSError as error:
            raise RefusedError(f"--json: {json_file}: {error.strerror}") from error
        print(json_file)
        return
    if not entity:
        raise RefusedError("--entity is required: the user or team that owns the project")
    check_server()
    try:
        view.save()
    except Exception as error:  # wandb raises errors of several libraries of its own
        raise RefusedError(f"wandb did not save the workspace: {' '.join(str(error).split())}") from error
    print(view.url)
