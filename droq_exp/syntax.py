"""Python source as what it computes: without comments, docstrings, annotations and layout, alike in all versions."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from typing import Any

SILENT = ("annotation", "returns", "ctx", "kind", "type_comment", "type_params")  # fields that decide no result
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def spelled(node: Any) -> str:
    """Spell a syntax tree; fields that are empty or say nothing are left out, and docstrings."""
    if isinstance(node, ast.AST):
        documented = isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None
        content = [
            f"{name}={spelled(value[1:] if documented and name == 'body' else value)}"
            for name, value in ast.iter_fields(node)
            if name not in SILENT and value not in (None, [])
        ]
        return f"{type(node).__name__}({', '.join(content)})"
    if isinstance(node, list):
        return f"[{', '.join(map(spelled, node))}]"
    return repr(node)


def digest(parts: Iterable[str]) -> str:
    """Sixteen hex digits over some texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
