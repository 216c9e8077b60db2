"""Which code a number depends on: the files that an arm imports, without comments and docstrings."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
ROOTS = ("train/fit.py", "app/evidence/bench.py", "evaluate/knn.py", "evaluate/linear.py", "views/policy.py")  # what every trained arm runs
LEFT_OUT = ("app/",)  # the product around the mathematics: lists of what there is, options, runs
MEASURING = ("app/evidence/particles.py", "app/symmetry.py")  # but not these, by which claims measure


def code_hash(source: str) -> str:
    """Changes with what the code does, not with its comments, docstrings or layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def of_files(paths: Iterable[Path]) -> str:
    """Of all manyviews files that these import, directly or not, and of these themselves."""
    found = sorted(closure(frozenset(paths)))
    return hashlib.sha256("".join(one(path) for path in found).encode()).hexdigest()[:16]


@functools.cache
def one(path: Path) -> str:
    return code_hash(path.read_text(encoding="utf-8"))


@functools.cache
def closure(paths: frozenset[Path]) -> frozenset[Path]:
    """The files, and what they import of the package outside LEFT_OUT."""
    found: set[Path] = set()
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [p for p in imports(path) if p not in found and counts(p.relative_to(PACKAGE).as_posix())]
    return frozenset(found)


def counts(file: str) -> bool:
    return file in MEASURING or not file.startswith(LEFT_OUT)


@functools.cache
def imports(path: Path) -> tuple[Path, ...]:
    """The package's files that one imports, anywhere in it."""
    files = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        for name in names:
            if name.startswith("manyviews."):
                file = PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
                if file.is_file():
                    files.append(file)
    return tuple(dict.fromkeys(files))
