"""``droq-exp export``: a run's deterministic policy as a file that other programs load."""

from __future__ import annotations

from pathlib import Path

from droq_exp.cli.errors import RefusedError, check_place


def export(directory: Path, onnx: Path | None, safetensors: Path | None) -> None:
    """Write the files that are given, and print for each the lines of Python that load it.

    Raises:
        RefusedError: no file is given or one cannot be written, there is not exactly one run, or it cannot be exported.
        ConfigError: its config.yaml cannot be used, or its task cannot be made here.
    """
    files = {f"--{kind}": file for kind, file in (("onnx", onnx), ("safetensors", safetensors)) if file is not None}
    if not files:
        raise RefusedError("give --onnx FILE, --safetensors FILE or both; see droq-exp export --help")
    from droq_exp.cli.evaluate import open_run  # imports torch
    from droq_exp.evaluation.export import ExportError, check_file

    try:
        for option, file in files.items():
            check_place(option, file)
            if file.suffix != f".{option.removeprefix('--')}":
                raise RefusedError(f"{option}: {file.name} does not end in .{option.removeprefix('--')}")
            check_file(file)
        run = open_run(directory)
        for file in files.values():
            print(run.export(file), flush=True)
    except ExportError as error:
        raise RefusedError(str(error)) from error
