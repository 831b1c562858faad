"""The one place that decides who makes the updates: PyTorch, which defines them, or something faster.

``native`` is this project's C++, on CPUs; ``graphs`` runs PyTorch as CUDA graphs; ``compile`` is torch.compile;
``eager`` is PyTorch as it stands. The last three run the functions of ``updates.py`` whatever they say. The C++ was
written for certain definitions, so it is chosen only where the digests say that these are still the ones, where it
knows every mode and field of the spec, and where a small update comes out the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from droq_exp.config.errors import ConfigError
from droq_exp.learner import definitions, updates
from droq_exp.learner.compiler import missing_for_compile
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.native.actor import OBJECTIVES, PolicyUpdate, TargetInputs
from droq_exp.learner.native.build import BuildError
from droq_exp.learner.native.critic_updates import TARGET_MODES, CriticUpdates
from droq_exp.learner.native.geometry import known_shapes
from droq_exp.learner.native.handshake import disagreement
from droq_exp.learner.native.library import SCALARS, gemm_address, library_name
from droq_exp.learner.spec import LearnerSpec

# Critic updates of a run from which torch.compile pays: it takes 20 s where its cache is empty, and then saves 1 ms
# (SAC) to 4 ms (DroQ) of each. The C++ takes 2.5 s once per user, most of them while torch is loaded, and saves more.
WORTH_COMPILING = 20_000

_printed: set[str] = set()  # lines that this process has printed


@dataclass(frozen=True)
class Backend:
    """Who makes the updates of a learner."""

    name: str  # native | graphs | compile | eager
    compiled: bool = False  # by torch.compile: always of "compile", of "graphs" where that pays
    library: str | None = None  # file name of the C++, which tells its sources, flags and CPU


EAGER = Backend("eager")
NATIVE = Backend("native")
COMPILED = Backend("compile", compiled=True)


class Functions(NamedTuple):
    """The steps with the spec fixed, as ``updates.py`` defines them."""

    target_inputs: Callable[..., Any]
    critic_updates: Callable[..., Any]
    policy_update: Callable[..., Any]
    actor_pass: Callable[..., Any]
    feature_update: Callable[..., Any]
    at_once: int  # critic updates that a call makes at most


def backend_for(spec: LearnerSpec, device: str, requested: str = "auto", critic_updates: int | None = None) -> Backend:
    """Choose the fastest backend that can make these updates; where it is not the fastest of all, say why, once.

    Args:
        spec: the learner's numbers.
        device: torch's name of it.
        requested: ``hardware.updates``; any but ``auto`` is had or refused.
        critic_updates: how many the run makes; None: enough for compiling to pay.

    Raises:
        ConfigError: what is requested cannot be had, or ``spec.bf16`` without the C++.

    """
    cpu = torch.device(device).type == "cpu"
    if requested == "graphs" and cpu:
        raise ConfigError("hardware.updates", "graphs are CUDA graphs: they need hardware.device=cuda; auto works here")
    if requested == "native" and not cpu:
        raise ConfigError("hardware.updates", f"native runs on CPUs, not on {device}; auto works here")
    against = why_not_native(spec) if cpu and requested in ("auto", "native") else None
    if requested in ("auto", "native") and cpu and against is None:
        return Backend("native", library=library_name(spec))
    if requested == "native":
        raise ConfigError("hardware.updates", f"native cannot make these updates: {against}; auto works here")
    if spec.bf16:
        reason = against or f"hardware.updates={requested} does without it"
        raise ConfigError("hardware.precision", f"only this project's C++ computes in bf16: {reason}")
    return _by_torch(spec, device, requested, critic_updates, against)


def _by_torch(
    spec: LearnerSpec, device: str, requested: str, critic_updates: int | None, against_native: str | None
) -> Backend:
    """Choose how PyTorch makes the updates."""
    cpu = torch.device(device).type == "cpu"
    pays = critic_updates is None or critic_updates >= WORTH_COMPILING
    wanted = requested == "compile" or (pays and requested != "eager")  # asking takes a second
    missing = missing_for_compile(torch.device(device).type) if wanted else None
    if requested == "compile":
        if missing:
            raise ConfigError("hardware.updates", f"compile cannot be had: {missing}; auto works here")
        return COMPILED
    compiled = wanted and missing is None
    graphs = not cpu and requested in ("auto", "graphs") and spec.per is None
    name = "graphs" if graphs else "compile" if compiled else "eager"
    if against_native:
        say_once(f"updates: {name}, not this project's C++: {against_native}")
    elif missing:
        say_once(f"updates: {name} without torch.compile, more slowly: {missing}")
    return Backend(name, compiled)


def why_not_native(spec: LearnerSpec) -> str | None:
    """What stands against the C++ for these updates, in words; None where nothing does."""
    return _unknown_to_native(spec) or _cannot_run_native(spec)


def _unknown_to_native(spec: LearnerSpec) -> str | None:
    """The first thing about the updates that the C++ was not written for."""
    if spec.per is not None:
        return "it has the minibatches of several updates at once, and algo.per draws each after the update before it"
    foreign = definitions.foreign_part(spec, ["features", *definitions.KNOWN_PARTS])
    if foreign:
        return foreign
    edited = definitions.changed(definitions.of_updates(), definitions.known()["updates"])
    if edited:
        return f"{edited[0]} is not what the C++ was written for"
    if type(spec) is not LearnerSpec:
        return f"the spec is a {type(spec).__qualname__}, not a LearnerSpec"
    for field in fields(Hyperparameters):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if field.name not in definitions.known()["spec"] and getattr(spec, field.name) != default:
            return f"it does not know {field.name}={getattr(spec, field.name)}"
    for name, modes in (("target_mode", TARGET_MODES), ("policy_value", OBJECTIVES), ("dtype", SCALARS)):
        if getattr(spec, name) not in modes:
            return f"it does not know {name}={getattr(spec, name)}"
    for network, shapes in zip(("critic", "actor"), known_shapes(spec), strict=True):
        if list(getattr(spec, network).shapes(spec).items()) != list(shapes.items()):
            return f"the {network} has other tensors than it knows"
    return None


def _cannot_run_native(spec: LearnerSpec) -> str | None:
    """Why the C++ does not run here, or that it does not compute what PyTorch does."""
    try:
        gemm_address(spec.dtype)
        if spec.bf16:
            gemm_address(torch.bfloat16)
        return _disagreement(spec)
    except BuildError as error:
        return str(error)


@lru_cache
def _disagreement(spec: LearnerSpec) -> str | None:
    return disagreement(spec)


def functions(spec: LearnerSpec, backend: Backend, device: torch.device) -> Functions:
    """Fix the spec in the steps, as ``backend`` runs them.

    Raises:
        BuildError: the C++ cannot be compiled here.

    """
    steps = _steps(spec)
    if backend.name == "native":  # where it is chosen, no actor has statistics to move, and there are no features
        return Functions(
            TargetInputs(spec), CriticUpdates(spec), PolicyUpdate(spec), steps[-2], steps[-1], spec.utd_ratio
        )
    if backend.compiled:
        steps = _compiled(steps, device)
    target_inputs, critic_updates, policy_update, actor_pass, feature_update = steps
    at_once = 1 if backend.name == "graphs" else _updates_per_graph(spec)
    return Functions(target_inputs, critic_updates, policy_update, actor_pass, feature_update, at_once)


def _steps(spec: LearnerSpec) -> list[Callable[..., Any]]:
    def target_inputs(*tensors: Any) -> Any:
        return updates.target_inputs(spec, *tensors)

    def critic_updates(*tensors: Any) -> Any:
        return updates.critic_updates(spec, *tensors)

    def policy_update(*tensors: Any) -> None:
        updates.policy_update(spec, *tensors)

    def actor_pass(*tensors: Any) -> None:
        updates.actor_pass(spec, *tensors)

    def feature_update(*tensors: Any) -> None:
        updates.feature_update(spec, *tensors)

    return [target_inputs, critic_updates, policy_update, actor_pass, feature_update]


def _compiled(steps: list[Any], device: torch.device) -> list[Any]:
    # A sweep builds one learner after another, and torch.compile counts the graphs of all of them against one limit.
    torch.compiler.reset()
    # A graph is a few dozen kernels of microseconds each: on CPU it is called from C++, for 5% of an update.
    options: dict[str, Any] = {"cpp_wrapper": device.type == "cpu"}
    # Shapes never change but in a shorter last run of critic updates, so specialising on them costs one more graph.
    return [torch.compile(step, fullgraph=True, dynamic=False, options=options) for step in steps]


def _updates_per_graph(spec: LearnerSpec) -> int:
    """Critic updates that are compiled as one graph, at most.

    Entering a graph costs a tenth of an update of plain critics, so several share one. Layer norm and dropout double
    an update's kernels: there the gain is smaller, and compiling takes 4 seconds more with each update.
    """
    return 2 if spec.layer_norm or spec.dropout_rate else 5


def say_once(line: str) -> None:
    """Print a line to stderr, once in this process."""
    if line not in _printed:
        print(line, file=sys.stderr, flush=True)
        _printed.add(line)
