"""What each function loads: its own parts, and nobody else's."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "slackwater"
FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))


def file_of(module: str) -> Path | None:
    path = LAYER.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.exists()), None)


@cache
def imported_by(file: Path) -> frozenset[str]:
    """The modules of ours that loading `file` imports directly (not inside functions, not for types alone)."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in found if name.startswith("slackwater") and file_of(name))


def loaded_by(function: str) -> set[str]:
    waiting, seen = list(imported_by(ROOT / "functions" / function / "app.py")), set()
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += imported_by(file_of(module))
    return seen


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_loads_its_own_builder_and_no_other_functions(function: str):
    builders = {f"slackwater.bootstrap.{name}" for name in FUNCTIONS}
    assert loaded_by(function) & builders == {f"slackwater.bootstrap.{function}"}


@pytest.mark.parametrize("module", ["usecases.surveyor", "usecases.engine", "policy.choose"])
def test_what_few_functions_need_is_not_loaded_by_the_others(module: str):
    users = {function for function in FUNCTIONS if f"slackwater.{module}" in loaded_by(function)}
    assert users
    assert not users & {"admit", "wait", "aggregate", "announce", "tick"}
