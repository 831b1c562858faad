"""Digests of what defines the learner, by which whatever computes the same in another way knows what it was made for.

A function's digest covers its syntax tree, without docstrings, annotations, comments and layout, and what each global
name in it stands for; functions, classes and constants of this package that it uses have entries of their own. So an
edited, replaced or redirected definition shows, and so does the value of a constant.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import cache, lru_cache
from pathlib import Path
from types import FunctionType, ModuleType, NoneType
from typing import Any

import numpy as np

from droq_exp.learner import draws, dropout, updates
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.losses import SoftPolicyObjective, SquaredTdError
from droq_exp.learner.networks import EnsembleCritic, SquashedGaussianActor
from droq_exp.syntax import SILENT, digest, spelled

PACKAGE = __name__.partition(".")[0]
FILE = Path(__file__).parent / "native" / "digests.json"
UNKNOWN = "no source"
KNOWN_PARTS: dict[str, type] = {  # by the field of the spec; what the C++ and the NumPy policy were written for
    "critic": EnsembleCritic,
    "actor": SquashedGaussianActor,
    "objective": SquaredTdError,
    "policy_objective": SoftPolicyObjective,
}

UNTAUGHT = (
    "actor_hidden_sizes",
    "activation",
    "adam_beta1",
    "target_network",
    "joint_pass",
    "joint_policy_pass",
    "units",
    "temperature_loss",
    "per",
)  # fields that the C++ does not know


def of_updates() -> dict[str, str]:
    """Digests of all that the C++ reimplements, by full name."""
    roots = [updates.target_inputs, updates.critic_updates, updates.policy_update, *KNOWN_PARTS.values()]
    return _digests([*roots, dropout.DropoutMask, draws.DrawSampler._draw_masks, Hyperparameters])


def of_acting() -> dict[str, str]:
    """Digests of all that the NumPy policy reimplements, by full name."""
    return _digests([SquashedGaussianActor])


def current() -> dict[str, Any]:
    """What ``digests.json`` holds when it is up to date."""
    return {
        "updates": of_updates(),
        "acting": of_acting(),
        "spec": [field.name for field in fields(Hyperparameters) if field.name not in UNTAUGHT],
    }


@lru_cache
def known() -> dict[str, Any]:
    """What the accelerators were last compared with."""
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def changed(now: dict[str, str], then: dict[str, str]) -> list[str]:
    """Names of the definitions that are not what they were, the changed ones before the added and removed."""
    edited = [name for name in now if name in then and now[name] != then[name]]
    return [*edited, *(name for name in {**now, **then} if (name in now) != (name in then))]


def foreign_part(spec: object, parts: Iterable[str]) -> str | None:
    """Name the first of the ``parts`` of a spec that is not of the type known here, in words; None where all are.

    Of a part that none of the accelerators knows, None is.
    """
    for name in parts:
        part = type(getattr(spec, name))
        if part is not KNOWN_PARTS.get(name, NoneType):
            return f"algo.{name} is {part.__module__}.{part.__qualname__}"
    return None


def _digests(roots: Iterable[Any]) -> dict[str, str]:
    entries: dict[str, str] = {}
    for root in roots:
        _visit(root, entries)
    return dict(sorted(entries.items()))


def _visit(value: Any, entries: dict[str, str]) -> str:
    """Enter a function or class, and all of this package that it uses; return its full name."""
    name = f"{value.__module__}.{value.__qualname__}"
    if name in entries:
        return name
    if isinstance(value, type):
        methods = _methods(value)
        entries[name] = digest(sorted(methods))
        for method in methods.values():
            _visit(method, entries)
        return name
    entries[name] = ""  # it may call itself
    node = _node(value.__code__.co_filename, value.__code__.co_firstlineno)
    if node is None or value.__closure__:
        entries[name] = UNKNOWN
        return name
    spelling, used = _content(node)
    references = [_reference(value, each, entries) for each in used if each in value.__globals__]
    entries[name] = digest([*spelling, *references])
    return name


def _reference(function: FunctionType, name: str, entries: dict[str, str]) -> str:
    """What a global name of a function stands for, entered where it belongs to this package or is a constant."""
    value = function.__globals__[name]
    if isinstance(value, ModuleType):
        return f"{name} is {value.__name__}"
    constant = _constant(value)
    if constant is not None:
        full = f"{function.__module__}.{name}"
        entries[full] = constant
        return f"{name} is {full}"
    if isinstance(value, FunctionType | type) and value.__module__.startswith(f"{PACKAGE}."):
        return f"{name} is {_visit(value, entries)}"
    return f"{name} is {getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _constant(value: Any) -> str | None:
    if isinstance(value, np.generic):
        return f"{value.dtype}({value.item()!r})"
    if isinstance(value, tuple):
        parts = [_constant(each) for each in value]
        return None if None in parts else f"({', '.join(map(str, parts))})"
    return repr(value) if isinstance(value, bool | int | float | str) else None


def _methods(cls: type) -> dict[str, FunctionType]:
    """The functions written in a class, by name: neither those that dataclasses make nor what was put there later."""
    file = sys.modules[cls.__module__].__file__
    functions = {
        name: member.fget if isinstance(member, property) else member
        for name, member in vars(cls).items()
        if isinstance(member, property | FunctionType)
    }
    return {
        name: each
        for name, each in functions.items()
        if isinstance(each, FunctionType) and each.__code__.co_filename == file
    }


def _node(file: str, line: int) -> ast.AST | None:
    return _nodes(file).get(line)


@lru_cache
def _nodes(file: str) -> dict[int, ast.AST]:
    """The functions in a file by the line that each begins in, decorators included; of several in a line, none."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    nodes: dict[int, ast.AST] = {}
    twice = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            line = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
            twice |= {line} & nodes.keys()
            nodes[line] = node
    return {line: node for line, node in nodes.items() if line not in twice}


@cache  # of the nodes that _nodes keeps
def _content(node: ast.AST) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """How the parts of a function that compute something are spelled, and the names in them, sorted."""
    parts = list(_computing(node))
    return tuple(map(spelled, parts)), tuple(sorted({name for part in parts for name in _names(part)}))


def _computing(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a function that decide what it computes: its parameters and its body without the docstring."""
    if isinstance(node, ast.Lambda):
        yield from (node.args, node.body)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from (node.args, *node.decorator_list)
        yield from node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body


def _names(node: ast.AST) -> Iterator[str]:
    """The names in a syntax tree, those of annotations excepted."""
    if isinstance(node, ast.Name):
        yield node.id
    for field, value in ast.iter_fields(node):
        if field not in SILENT:
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.AST):
                    yield from _names(each)
