"""Modules import each other in one direction."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "metaft"


def statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs when a module is imported: not the insides of functions, nor what only a type checker reads."""
    for one in body:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(one, ast.If) and "TYPE_CHECKING" in ast.unparse(one.test):
            yield from statements(one.orelse)
            continue
        yield one
        for inside in ("body", "orelse", "finalbody"):
            yield from statements(getattr(one, inside, []))


def imports(tree: ast.Module, modules: set[str]) -> set[str]:
    """The modules of the package that a module imports."""
    found = set()
    for one in statements(tree.body):
        if isinstance(one, ast.Import):
            found |= {name.name for name in one.names}
        elif isinstance(one, ast.ImportFrom) and one.module:
            inside = {f"{one.module}.{name.name}" for name in one.names}
            found |= inside & modules or {one.module}
    return found & modules


def graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """Module → those that it imports."""
    return {name: imports(ast.parse(text), set(sources)) - {name} for name, text in sources.items()}


def test_there_is_no_circle() -> None:
    files = {".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): file for file in PACKAGE.rglob("*.py")}
    found = graph({name.removesuffix(".__init__"): file.read_text() for name, file in files.items()})
    assert len(found) > 300
    assert found["metaft.learners.maml"] > {"metaft.outer.mean_gradient"}
    list(TopologicalSorter(found).static_order())  # a CycleError names the circle


def test_a_circle_would_be_found() -> None:
    circle = {"a": "if True:\n    import b", "b": "from c import x", "c": "try:\n    import a\nfinally:\n    pass"}
    assert graph(circle) == {"a": {"b"}, "b": {"c"}, "c": {"a"}}
    assert graph({"a": "def f():\n    import b", "b": "import a"}) == {"a": set(), "b": {"a"}}
