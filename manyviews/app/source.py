"""Reading Python source without running it: signatures, constants, and what comments and docstrings say about arguments."""

from __future__ import annotations

import ast
import io
import operator
import re
import tokenize
from pathlib import Path
from typing import Any

from manyviews.errors import InputError


def parse(path: Path) -> ast.Module:
    """Raises InputError for a file that is no Python."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}") from None


def arguments(function: ast.FunctionDef) -> list[tuple[ast.arg, ast.expr | None]]:
    """Arguments and their defaults, without *args."""
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    values: list[ast.expr | None] = [*[None] * (len(positional) - len(a.defaults)), *a.defaults]
    return [*zip(positional, values, strict=True), *zip(a.kwonlyargs, a.kw_defaults, strict=True)]


def defaults(function: ast.FunctionDef) -> dict[str, str]:
    """Arguments and the source of their defaults; those without one left out."""
    return {a.arg: ast.unparse(value) for a, value in arguments(function) if value is not None}


def types(function: ast.FunctionDef) -> dict[str, str]:
    """Arguments and the source of their annotations."""
    return {a.arg: ast.unparse(a.annotation) for a, _ in arguments(function) if a.annotation is not None}


ARITHMETIC: dict[type, Any] = {ast.Div: operator.truediv, ast.Mult: operator.mul, ast.Add: operator.add, ast.Sub: operator.sub, ast.Pow: operator.pow}


def assigned(body: list[ast.stmt], name: str) -> ast.expr | None:
    """What `name` is set to in a module or class."""
    for node in body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return node.value
    return None


def literal(text: str) -> object:
    """The value of a literal, or of a quotient, product, sum or difference of two numbers (1 / 300). Raises ValueError for anything else."""
    node = ast.parse(text.strip(), mode="eval").body
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        a, b = ast.literal_eval(node.left), ast.literal_eval(node.right)
        return ARITHMETIC[type(node.op)](a, b)
    return ast.literal_eval(text)


def constant(tree: ast.Module, name: str) -> object:
    """A literal of the module, or None."""
    value = assigned(tree.body, name)
    return None if value is None else ast.literal_eval(value)


def call_of(value: ast.expr | None) -> dict[str, str]:
    """The keywords of a call such as Recipe(lr=0.3), as source text."""
    return {k.arg: ast.unparse(k.value) for k in value.keywords if k.arg} if isinstance(value, ast.Call) else {}


def comments(source: str) -> dict[int, str]:
    """Line -> comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").rstrip() for t in tokens if t.type == tokenize.COMMENT}


def meanings(names: list[str], nodes: list[ast.ClassDef | ast.FunctionDef], source: str) -> dict[str, str]:
    """What docstrings and comments say about arguments: the sentence that begins with one or puts it in `quotes`, else the comment where it is taken."""
    docs = " ".join(" ".join((ast.get_docstring(node) or "").split()) for node in nodes)
    sentences = re.split(r"(?<=[.])\s+", docs)
    said: dict[str, str] = {}
    remarks = comments(source)
    for name in names:
        opening = [s for s in sentences if re.match(rf"`?{re.escape(name)}`?( ?[:,<>=]| is | in )", s)]
        quoted = [s for s in sentences if f"`{name}`" in s]
        if opening or quoted:
            said[name] = re.sub(rf"^`?{re.escape(name)}`?: ?", "", (opening or quoted)[0])
            continue
        for node in (inner for outer in nodes for inner in ast.walk(outer)):
            assigns = isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id == name
            takes = isinstance(node, ast.arg) and node.arg == name
            line = getattr(node, "lineno", 0)
            if (assigns or takes) and line in remarks:
                said[name] = remarks[line]
    return said
