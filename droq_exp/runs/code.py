"""The code that defines a run's learner, as digests by file: an edit of a formula makes another run."""

from __future__ import annotations

import ast
from collections.abc import Callable
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


# What decides when updates without environment steps are made, and what chooses a dropout rate.
PHASES = "training/phases.py"
AUTO = ("agent/auto_dropout.py", "agent/selection.py", "agent/held_out.py", "agent/n_step.py", "learner/td_error.py")


def code_of(config: Config) -> dict[str, str]:
    """Digests of the files that define the learner of ``config``, by file.

    A target's own file is one of them, and so is what that imports: of this project's learner, or of the user's own.
    """
    own = [f"codebases/{config.codebase.name}.py"]
    if config.algo.n_step > 1:
        own.append("agent/n_step.py")
    if config.algo.per.enabled:
        own += ["learner/prioritised.py", "learner/td_error.py", "agent/priorities.py", "agent/minibatches.py"]
    if config.algo.dropout_rate == "auto":
        own += AUTO
    if config.training.offline_every or config.algo.features._target_ is not None:
        own.append(PHASES)
    files = {name: PACKAGE / name for name in (*FILES, *own)}
    parts = [getattr(config.algo, part)._target_ for part in PARTS]
    for target in filter(None, (config.algo._target_, config.codebase._target_, *parts)):
        module = target.rpartition(".")[0]
        if target in BUILT_IN:
            path = PACKAGE.parent / f"{module.replace('.', '/')}.py"
            if path.exists():  # an agent's class stands in a module of its package
                files |= {each.relative_to(PACKAGE).as_posix(): each for each in (path, *_of_learner(path))}
        else:
            spec = find_spec(module)
            if spec is not None and spec.origin is not None:
                files |= {module: Path(spec.origin), **_of_user(module, Path(spec.origin))}
    return {name: _read(path)[0] for name, path in files.items()}


def changed(stored: dict[str, str], now: dict[str, str]) -> list[str]:
    """The files whose code differs. What was not looked at when it was stored is reached by an edit of what was."""
    return [name for name in sorted(stored) if stored[name] != now.get(name)]


def _of_learner(path: Path) -> list[Path]:
    learner = PACKAGE / "learner"
    said = learner / "parts.py"  # what a part must have, which computes nothing
    return _reached(path, PACKAGE.parent, lambda each: each.parent == learner and each != said)


def _of_user(module: str, path: Path) -> dict[str, Path]:
    """What a user's own module imports from its package, or from beside it where nothing was installed, by name."""
    package, *below = module.split(".")
    root = path.parents[len(below) + (path.name == "__init__.py")]
    installed = {"site-packages", "dist-packages"} & {*root.parts}

    def is_own(each: Path) -> bool:
        top = each.relative_to(root).with_suffix("").parts[0]
        return top == package or not (installed or top == PACKAGE.name)

    found = _reached(path, root, is_own)
    return {".".join(each.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): each for each in found}


def _reached(path: Path, root: Path, counts: Callable[[Path], bool]) -> list[Path]:
    """The files below ``root`` that ``path`` and what it reaches import, those that count. Nothing is imported."""
    found, waiting = {path}, [path]
    while waiting:
        new = {each for each in _imported(waiting.pop(), root) if counts(each)} - found
        found |= new
        waiting += new
    return sorted(found - {path})


def _imported(path: Path, root: Path) -> list[Path]:
    """The files below ``root`` that ``path`` imports."""
    places: list[Path] = []
    for level, module, names in _read(path)[1]:
        base = path.parents[level - 1] if level else root
        place = base.joinpath(*filter(None, module.split(".")))
        places += (place, *(place / name for name in names))
    files = (candidate for place in places for candidate in (place.with_suffix(".py"), place / "__init__.py"))
    return [candidate for candidate in files if candidate.is_file()]


@cache
def _read(path: Path) -> tuple[str, list[tuple[int, str, list[str]]]]:
    """The digest of a file; and of each import its level, the module and the names that are taken from it."""
    tree = ast.parse(path.read_bytes())
    found: list[tuple[int, str, list[str]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += ((0, name.name, []) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", [name.name for name in node.names]))
    return digest([spelled(tree)]), found
