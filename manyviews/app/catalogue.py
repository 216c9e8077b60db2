"""What there is: methods, objectives, encoders and their hyperparameters, read from the source without importing it.

A method is a class derived from `Method` in methods/*/NAME.py; an objective is a function in objectives/NAME.py that joint_embedding runs, under its
own name or under the published one it gives as NAME. There is no registry: the files are the list.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
from pathlib import Path

from manyviews.errors import InputError

PACKAGE = Path(__file__).resolve().parent.parent
FILLED = ("self", "encoder", "samples", "classes", "objective")  # what the engine fills in


@dataclasses.dataclass(frozen=True)
class Entry:
    """A published system, as its file tells it."""

    name: str
    kind: str  # "method" or "objective"
    path: str  # below the package
    definition: str  # the class or function
    doc: str
    parameters: dict[str, str]  # hyperparameter -> default, as source text

    @property
    def module(self) -> str:
        return "manyviews." + self.path.removesuffix(".py").replace("/", ".")

    @property
    def sentence(self) -> str:
        return " ".join(self.doc.split("\n\n")[0].split())

    @property
    def citation(self) -> str:
        parts = self.doc.split("\n\n")
        return " ".join(parts[1].split("Departs from")[0].split()) if len(parts) > 1 else ""

    @property
    def departures(self) -> str:
        return " ".join(self.doc[self.doc.find("Departs from") :].split()) if "Departs from" in self.doc else ""


def defaults(function: ast.FunctionDef) -> dict[str, str]:
    """Arguments and the source of their defaults; those the engine fills in and *args left out."""
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    values = [None] * (len(positional) - len(a.defaults)) + [ast.unparse(d) for d in a.defaults]
    pairs = [*zip(positional, values, strict=True), *zip(a.kwonlyargs, [d and ast.unparse(d) for d in a.kw_defaults], strict=True)]
    return {arg.arg: value for arg, value in pairs if arg.arg not in FILLED and value is not None}


def constant(tree: ast.Module, name: str) -> object:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    return None


def read(path: Path) -> Entry | None:
    """The entry of one file; None for a file that is no system (joint_embedding, __init__)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    doc = ast.get_docstring(tree) or ""
    where = path.relative_to(PACKAGE).as_posix()
    if path.parent.name == "objectives":
        function = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == path.stem), None)
        if function is None:
            return None
        frame = {name: repr(value) for name, value in (constant(tree, "PROJECTOR") or {}).items()}  # type: ignore[attr-defined]
        return Entry(str(constant(tree, "NAME") or path.stem), "objective", where, path.stem, doc, {**frame, **defaults(function)})
    if path.stem == "joint_embedding":
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Method" for b in node.bases):
            init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
            return Entry(path.stem, "method", where, node.name, doc, defaults(init) if init else {})
    return None


@functools.cache
def methods() -> dict[str, Entry]:
    """All ways to pretrain, by name. Raises RuntimeError when two files claim a name."""
    found: dict[str, Entry] = {}
    for path in [*sorted(PACKAGE.glob("methods/*/*.py")), *sorted(PACKAGE.glob("objectives/*.py"))]:
        entry = read(path)
        if entry is None:
            continue
        if entry.name in found:
            raise RuntimeError(f"{entry.name} has two homes: {found[entry.name].path} and {entry.path}")
        found[entry.name] = entry
    return dict(sorted(found.items()))


def find_method(name: str) -> Entry:
    """The entry by its name, its objective's name, or its class's. Raises InputError with the nearest."""
    found = methods()
    wanted = name.lower().replace("-", "_").replace(" ", "_")
    for entry in found.values():
        if wanted in (entry.name, entry.definition.lower(), Path(entry.path).stem):
            return entry
    near = difflib.get_close_matches(wanted, found, 3, 0.4)
    raise InputError(f"no method {name!r}" + (f"; the nearest are {', '.join(near)}" if near else "") + "; `manyviews methods` lists them")


def parse_settings(entry: Entry, given: dict[str, str]) -> tuple[dict[str, object], list[str]]:
    """Values for `--set name=value`, and what is wrong with them."""
    values: dict[str, object] = {}
    problems = []
    for name, text in given.items():
        if name not in entry.parameters:
            near = difflib.get_close_matches(name, entry.parameters, 2, 0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            problems.append(f"{entry.name} has no hyperparameter {name!r}{hint} It has {', '.join(entry.parameters) or 'none'}")
            continue
        try:
            value = ast.literal_eval(text) if isinstance(text, str) else text
        except (ValueError, SyntaxError):
            value = text
        like = ast.literal_eval(entry.parameters[name])
        if isinstance(like, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if like is not None and type(value) is not type(like):
            problems.append(f"--set {name}={text}: expected {type(like).__name__}, as in the default {like!r}")
        values[name] = value
    return values, problems
