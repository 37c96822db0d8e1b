"""Names and sizes: nouns for values, verbs for functions, short functions and modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "ablations").rglob("*.py"))
FILES = sorted(
    [
        *PACKAGE,
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "bench").rglob("*.py"),
        ROOT / "noxfile.py",
    ]
)
FORBIDDEN = {
    "found", "told", "kept", "made", "own", "asked", "wanted", "given", "whole", "said", "known",
    "part", "one", "of", "how", "taken", "held", "drawn", "placed", "named",
}  # fmt: skip
"""Names that do not say what a value is, or what a function does."""

MAX_FUNCTION, MAX_MODULE, MAX_PACKAGE = 60, 400, 43_056
"""Lines, with docstrings.  The package may only shrink: lower its number when it does."""
OPTION_LISTS = {
    "ablations/execution/run.py:run",
    "ablations/cli/run.py:run",
    "ablations/cli/run.py:time",
    "ablations/cli/inspect.py:effects",
}
"""Functions that are the list of their options, one or more lines each with its help."""


def bindings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of every variable, argument, function, class, alias and exception.

    An imported name counts where this project chooses it, not where another library does.
    """
    foreign = {
        alias
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0
        if not (node.module or "").startswith("ablations")
        for alias in node.names
        if not alias.asname
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.alias) and node not in foreign:
            yield node.lineno, node.asname or node.name
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.lineno, node.name


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_names_say_what_they_hold() -> None:
    vague = [
        f"{name_of(path)}:{line} {name}"
        for path in FILES
        for line, name in bindings(ast.parse(path.read_text(encoding="utf-8")))
        if name.strip("_") in FORBIDDEN
    ]
    assert vague == []


def test_functions_and_modules_are_short() -> None:
    long = []
    for path in PACKAGE:
        text, name = path.read_text(encoding="utf-8"), name_of(path)
        lengths = {name: len(text.splitlines()) - MAX_MODULE}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                lengths[f"{name}:{node.name}"] = lines - MAX_FUNCTION
        long += [key for key, excess in lengths.items() if excess > 0 and key not in OPTION_LISTS]
    assert long == []


def test_the_package_does_not_grow() -> None:
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE)
    assert lines <= MAX_PACKAGE
