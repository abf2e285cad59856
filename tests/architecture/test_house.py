"""The house rules: who imports whom, how long things are, what is documented."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES_MOST = 400
FUNCTION_LINES_MOST = 70
# What applies the migrations keeps its own books, before any of the store's SQL holds.
SPEAKS_SQL = {"queuesvc/store/sqlite/migrations.py"}

PACKAGE = sorted((ROOT / "queuesvc").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def test_imports_go_down_only() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"[1-9]\d* kept, 0 broken", result.stdout), result.stdout


@pytest.mark.parametrize("path", PACKAGE + TESTS + SCRIPTS, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= FILE_LINES_MOST
    for function in functions(ast.parse(text)):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= FUNCTION_LINES_MOST, f"{function.name} has {lines} lines"


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_public_things_are_documented(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    bare = [name for name, node in public_things(tree) if not ast.get_docstring(node)]
    assert not bare


def public_things(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Classes, functions and methods that are not inside a function, with their dotted names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef) and not child.name.startswith("_"):
            yield prefix + child.name, child
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_things(child, f"{prefix}{child.name}.")


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_tests_do_not_sleep(path: Path) -> None:
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    names = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
    assert "sleep" not in names, "wait for the thing itself: a line, a reply, a process"


def test_sql_stands_in_sql_files() -> None:
    statement = re.compile(r"""["']\s*(SELECT|INSERT|UPDATE|DELETE FROM|REPLACE INTO|WITH)\s""")
    found = {name_of(path) for path in PACKAGE if statement.search(path.read_text())}
    assert found <= SPEAKS_SQL
