"""The code that defines a run's learner, as digests by file: an edit of a formula makes another run."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import droq_exp
from droq_exp.config.schema import PARTS, Config
from droq_exp.config.targets import BUILT_IN
from droq_exp.syntax import digest, spelled

PACKAGE = Path(droq_exp.__file__).parent
# What computes the same in another way (learner/native, learner/cuda) is held to these by tests and at start-up.
FILES = (
    *(f"learner/{name}.py" for name in ("spec", "hyperparameters", "transitions", "state", "networks", "losses")),
    *(f"learner/{name}.py" for name in ("updates", "optimiser", "draws", "dropout", "learner", "orders", "programs")),
    *(f"agent/{name}.py" for name in ("agent", "policy", "replay", "host", "observations", "rewards")),
    *(f"{name}.py" for name in ("agent/exploration", "learner/normalisation", "learner/squashing")),
    "random_streams.py",
)


def code_of(config: Config) -> dict[str, str]:
    """Digests of the files that define the learner of ``config``, by file; a target's own file is one of them."""
    own = [f"codebases/{config.codebase.name}.py"]
    if config.algo.n_step > 1:
        own.append("agent/n_step.py")
    if config.algo.per.enabled:
        own += ["learner/prioritised.py", "agent/priorities.py", "agent/minibatches.py"]
    files = {name: PACKAGE / name for name in (*FILES, *own)}
    parts = [getattr(config.algo, part)._target_ for part in PARTS]
    for target in filter(None, (config.algo._target_, config.codebase._target_, *parts)):
        if target in BUILT_IN:
            name = target.removeprefix(f"{PACKAGE.name}.").rpartition(".")[0].replace(".", "/")
            if (PACKAGE / f"{name}.py").exists():  # an agent's class stands in a module of its package
                files[f"{name}.py"] = PACKAGE / f"{name}.py"
        else:
            module = target.rpartition(".")[0]
            spec = find_spec(module)
            if spec is not None and spec.origin is not None:
                files[module] = Path(spec.origin)
    return {name: _digest(path) for name, path in files.items()}


def changed(stored: dict[str, str], now: dict[str, str]) -> list[str]:
    """The files whose code differs."""
    return [name for name in sorted({*stored, *now}) if stored.get(name) != now.get(name)]


@cache
def _digest(path: Path) -> str:
    return digest([spelled(ast.parse(path.read_bytes()))])
