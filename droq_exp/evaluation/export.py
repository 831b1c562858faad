"""A policy as a file for programs without this project: ONNX, which acts by itself, or safetensors, which is numbers.

Nothing is written that has not been read back and compared with the policy, action by action.
"""

from __future__ import annotations

import importlib
import io
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from droq_exp.agent.deterministic import DeterministicPolicy
from droq_exp.config.schema import Config
from droq_exp.envs.build import observation_order
from droq_exp.envs.make import action_bounds
from droq_exp.runs.files import write_atomically
from droq_exp.runs.provenance import versions

TOLERANCE = 1e-5  # of the box's width; float32 rounds to 1e-7 of it
INPUT, OUTPUT = "observation", "action"
Act = Callable[[np.ndarray], np.ndarray]


class ExportError(ValueError):
    """A policy cannot be exported; ``str`` of it is one line that says why."""


@dataclass(frozen=True)
class Played:
    """What a file must do again.

    Args:
        obs: observations of an episode, float32 ``[n, obs]``.
        action: the policy's actions there, ``[n, act]``.
        width: of the action box, ``[act]``.
    """

    obs: np.ndarray
    action: np.ndarray
    width: np.ndarray


def check_file(path: Path) -> None:
    """Refuse what :func:`write_policy` would, as far as that is known before a policy is loaded.

    Raises:
        ExportError: no format has that suffix, the file exists, or a package is missing.
    """
    if path.suffix not in FORMATS:
        raise ExportError(f"{path.name} does not end in {' or '.join(FORMATS)}")
    if path.exists():
        raise ExportError(f"{path} exists; remove it, or give another name")
    for package in FORMATS[path.suffix].packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ExportError(
                f"export needs {error.name}, which is not installed; pip install 'droq-exp[export]' installs it"
            ) from error


def write_policy(path: Path, policy: DeterministicPolicy, told: Mapping[str, Any], played: Played) -> None:
    """Write ``policy`` with the metadata ``told``, each value as JSON, in the format of the path's suffix.

    Raises:
        ExportError: as :func:`check_file`; it cannot be written; a user's own part cannot be exported; or the file does
            not act as the policy does. There is no file then.
    """
    check_file(path)
    texts = {name: json.dumps(value) for name, value in told.items()}
    content, act = FORMATS[path.suffix].encode(policy.eval(), texts)
    # All at once, and one alone: a graph may hold for the number of rows with which it was traced.
    for rows in (slice(None), slice(1)):
        problem = _problem(act, played.obs[rows], played.action[rows], played.width)
        if problem is not None:
            raise ExportError(f"{path} would not act as the policy does: {problem}")
    try:
        write_atomically(path, content)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}") from error


def _problem(act: Act, obs: np.ndarray, wanted: np.ndarray, width: np.ndarray) -> str | None:
    """How ``act`` departs from the ``wanted`` actions; None where it does not."""
    try:
        found = act(obs)
    except Exception as error:  # a runtime's own kinds
        return " ".join(f"{type(error).__name__}: {error}".split())
    if found.shape != wanted.shape:
        return f"it gives {list(found.shape)} and not {list(wanted.shape)}"
    apart = float((np.abs(found.astype(np.float64) - wanted) / width).max())
    return None if apart <= TOLERANCE else f"it is {apart:.1e} of the action box apart"


def described(config: Config, env: gymnasium.Env, step: int) -> dict[str, Any]:
    """What a user of the file must know: the run, what the policy sees, what it gives, what stands around the task."""
    low, high = action_bounds(env)
    assert env.observation_space.shape is not None
    assert env.action_space.dtype is not None
    return {
        "task": config.env.id,
        "task_arguments": config.env.kwargs,
        "algorithm": config.algo.name,
        "code_base": config.codebase.name,
        "seed": config.seeds[0],
        "step": step,
        "observation_order": [list(part) for part in observation_order(env)],
        "frame_stack": config.env.frame_stack,
        "observation_size": env.observation_space.shape[0],
        "action_low": low.tolist(),
        "action_high": high.tolist(),
        "action_dtype": env.action_space.dtype.name,
        "action_repeat": config.env.action_repeat,
        "wrappers": [wrapper["_target_"] for wrapper in config.env.wrappers],
        "versions": versions(),
    }


def snippet(path: Path, told: Mapping[str, Any]) -> str:
    """Three lines of Python that load the file, below one that says what ``obs`` is."""
    return "\n".join(
        [f"# obs: {_observation(told)}", *(line.format(path=str(path)) for line in FORMATS[path.suffix].load)]
    )


def _observation(told: Mapping[str, Any]) -> str:
    parts, stack, size = told["observation_order"], told["frame_stack"], told["observation_size"]
    each = f"{size // stack} numbers"
    if len(parts) > 1 and sum(length for _, length in parts) * stack == size:
        each += f", {', '.join(f'{name} ({length})' for name, length in parts)}"
    if stack == 1:
        return each
    return f"the last {stack} observations, the oldest first, each of {each}; before there are so many, the first again"


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Args:
        packages: what it takes to write and check it.
        encode: gives the file's content, and what acts by that content.
        load: Python to load it, for ``str.format``.
    """

    packages: tuple[str, ...]
    encode: Callable[[DeterministicPolicy, Mapping[str, str]], tuple[bytes, Act]]
    load: tuple[str, ...]


def _onnx(policy: DeterministicPolicy, texts: Mapping[str, str]) -> tuple[bytes, Act]:
    import onnx
    import onnxruntime

    example = torch.zeros(2, policy.obs_dim)
    traced = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls itself old; the newer one takes seven seconds and further packages
        try:
            torch.onnx.export(
                policy,
                (example,),
                traced,  # type: ignore[arg-type]  # this exporter takes it
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
                dynamo=False,
            )
        except Exception as error:  # a user's own network may do what no graph can
            problem = " ".join(str(error).split()).partition(". ")[0]
            raise ExportError(f"the policy cannot be exported: {type(error).__name__}: {problem}") from error
    model = onnx.load_model_from_string(traced.getvalue())
    onnx.helper.set_model_props(model, dict(texts))
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content)
    return content, lambda obs: session.run(None, {INPUT: obs})[0]


def _safetensors(policy: DeterministicPolicy, texts: Mapping[str, str]) -> tuple[bytes, Act]:
    from safetensors.torch import load, save

    content = save(policy.state_dict(), metadata=dict(texts))
    policy.load_state_dict(load(content))

    @torch.no_grad()
    def act(obs: np.ndarray) -> np.ndarray:
        return policy(torch.tensor(obs)).numpy()

    return content, act


FORMATS = {
    ".onnx": Format(
        ("onnx", "onnxruntime"),
        _onnx,
        (
            "import numpy, onnxruntime",
            "policy = onnxruntime.InferenceSession({path!r})",
            f'action = policy.run(None, {{{{"{INPUT}": numpy.float32([obs])}}}})[0][0]',
        ),
    ),
    ".safetensors": Format(
        ("safetensors",),
        _safetensors,
        (
            "from safetensors import safe_open",
            'with safe_open({path!r}, "numpy") as file:',
            "    tensors, told = {{name: file.get_tensor(name) for name in file.keys()}}, file.metadata()",
        ),
    ),
}
