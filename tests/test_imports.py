"""What imports what, read from the sources: nothing is imported for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "droq_exp"
AT_THE_ROOT = 10  # modules: what belongs somewhere has a folder
NOT_OURS = ("benchmarks", "scripts", "tests")  # they import droq_exp, and no wheel has them


class Import(NamedTuple):
    """``line`` of the importing module names ``module``."""

    module: str
    line: int


def sources(package: Path) -> dict[str, str]:
    """The text of each module below ``package``, by its dotted name."""
    return {_dotted(path.relative_to(package.parent)): path.read_text() for path in package.rglob("*.py")}


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports(source: str, modules: Container[str]) -> Iterator[Import]:
    """Every import, wherever it stands: at the top, for type checkers alone, within functions.

    ``from package import name`` names the module ``package.name`` where it is one of ``modules``, else the package.
    Those within functions count too. They make a program start quickly; were they let off, they would hide circles.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            names = [f"{node.module}.{name.name}" for name in node.names]
            yield from (Import(name if name in modules else str(node.module), node.lineno) for name in names)


def within(modules: Mapping[str, str]) -> dict[str, list[Import]]:
    """Which of ``modules`` (sources by dotted name) each of them imports; a package is run before what is in it."""
    return {name: sorted(set(_edges(name, source, modules))) for name, source in modules.items()}


def _edges(name: str, source: str, modules: Mapping[str, str]) -> Iterator[Import]:
    for module, line in imports(source, modules):
        parts = module.split(".")
        packages = [".".join(parts[:end]) for end in range(1, len(parts))]
        # A package that holds the importing module runs already.
        named = [module, *(package for package in packages if not name.startswith(f"{package}."))]
        yield from (Import(each, line) for each in named if each in modules and each != name)


def circle(edges: Mapping[str, Iterable[Import]]) -> str | None:
    """The first circle of imports that is found, a line for each import of it; None where there is none."""
    done: set[str] = set()

    def follow(name: str, path: list[str], lines: list[str]) -> str | None:
        if name in path:
            return "\n".join(lines[path.index(name) :])
        if name in done:
            return None
        for module, line in edges[name]:
            found = follow(module, [*path, name], [*lines, f"{name}, line {line}, imports {module}"])
            if found is not None:
                return found
        done.add(name)
        return None

    return next((found for name in edges if (found := follow(name, [], [])) is not None), None)


def test_the_root_of_the_package_stays_small() -> None:
    modules = sorted(path.name for path in PACKAGE.glob("*.py"))
    assert len(modules) <= AT_THE_ROOT, f"{len(modules)} modules lie in droq_exp itself: {', '.join(modules)}"


def test_no_circle_of_imports() -> None:
    found = circle(within(sources(PACKAGE)))
    assert found is None, f"a circle of imports:\n{found}"


def test_the_program_imports_nothing_that_only_a_checkout_has() -> None:
    modules = sources(PACKAGE) | sources(ROOT / "hydra_plugins")
    found = [
        f"{name}, line {line}, imports {module}"
        for name, source in modules.items()
        for module, line in imports(source, modules)
        if module.partition(".")[0] in NOT_OURS
    ]
    assert not found, "\n".join(found)


def layers() -> list[list[str]]:
    """The places of each layer in the picture of docs/design.md, from the top."""
    text = (ROOT / "docs" / "design.md").read_text()
    found = [line.split(" · ") for line in re.findall(r'^  \w+\["[^<]*<br>(.*)"\]$', text, re.MULTILINE)]
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__", "config"} <= {
        place.partition("/")[0] for layer in found for place in layer
    }
    return found


def test_no_package_imports_from_a_layer_above() -> None:
    rank = {place.removesuffix("/"): number for number, layer in enumerate(layers()) for place in layer}
    modules = sources(PACKAGE) | sources(ROOT / "hydra_plugins")

    def layer_of(module: str) -> int | None:
        path = module.removeprefix("droq_exp.").replace(".", "/")
        names = [f"{path}.py", *(path.rsplit("/", end)[0] for end in range(path.count("/") + 1))]
        return next((rank[name] for name in names if name in rank), None)

    upward = [
        f"{name}, line {line}, imports {module}"
        for name, imported in within(modules).items()
        for module, line in imported
        if (own := layer_of(name)) is not None and (other := layer_of(module)) is not None and other < own
    ]
    assert not upward, "\n".join(upward)


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ({"p": "", "p.a": "import p.b", "p.b": "import os"}, None),
        ({"p": "", "p.a": "import p.b", "p.b": "from p import a"}, "p.a imports p.b, p.b imports p.a"),
        ({"p": "", "p.a": "import p.b", "p.b": "def f():\n    import p.a"}, "p.a imports p.b, p.b imports p.a"),
        (
            {
                "p": "",
                "p.a": "from p.b import x",
                "p.b": "if TYPE_CHECKING:\n    from p.c import y",
                "p.c": "import p.a",
            },
            "p.a imports p.b, p.b imports p.c, p.c imports p.a",
        ),
        # A package runs before its modules, but one within it does not wait for itself.
        ({"p": "", "q": "from q.a import x", "q.a": "x = 1", "p.b": "import q.a"}, None),
        ({"p": "", "p.b": "from q.a import x", "q": "import p.b", "q.a": ""}, "p.b imports q, q imports p.b"),
        ({"q": "from q.a import x", "q.a": "from q import x"}, "q imports q.a, q.a imports q"),
    ],
)
def test_what_is_a_circle(modules: dict[str, str], expected: str | None) -> None:
    found = circle(within(modules))
    assert (found and re.sub(r", line \d+,", "", found).replace("\n", ", ")) == expected
