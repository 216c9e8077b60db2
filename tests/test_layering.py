"""The import table of the design, read from the source."""

import ast
import re
from pathlib import Path

import pytest

import manyviews

PACKAGE = Path(manyviews.__file__).parent
NEUTRAL = {"contracts", "counters", "errors", "groups", "nn"}  # anyone may import these
MODALITY = {"data", "views", "backbones", "symmetry", "adapt", "tasks"}  # these know images from point clouds
ROLES = {*MODALITY, "objectives", "methods", "train", "evaluate", "analyze"}
FORBIDDEN = {
    **{role: {*MODALITY, "app"} for role in ("objectives", "methods", "train", "evaluate", "analyze")},
    **{role: {"app"} for role in MODALITY},
    **{part: {*ROLES, "app"} for part in NEUTRAL},
}


def part_of(path):
    """The folder, or the file, of manyviews that a file belongs to."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0].removesuffix(".py")


def imported(source, where=("manyviews",)):
    """The parts of manyviews that a file imports, anywhere in it, also inside functions; `where` is the package it lies in."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(where[: len(where) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            text = node.args[0]
            literal = text.values[0] if isinstance(text, ast.JoinedStr) else text
            names = [literal.value] if isinstance(literal, ast.Constant) else []
        found |= {name.split(".")[1] for name in names if re.match(r"manyviews\.\w", name)}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_file_imports_only_what_its_folder_may(path):
    wrong = imported(path.read_text(encoding="utf-8"), ("manyviews", *path.relative_to(PACKAGE).parts[:-1])) & FORBIDDEN.get(part_of(path), set())
    assert not wrong, f"{path.relative_to(PACKAGE.parent)} imports {', '.join(f'manyviews.{part}' for part in sorted(wrong))}"


def test_every_folder_and_file_of_the_package_has_a_place_in_the_table():
    parts = {part_of(path) for path in FILES}
    assert parts <= {*NEUTRAL, *ROLES, "app", "__init__", "__main__"}


def test_every_kind_of_import_is_seen():
    source = """
import manyviews.data.dataset
def late():
    from manyviews.views import images
    from manyviews import backbones, nn
    from ..tasks import segment
    importlib.import_module("manyviews.adapt.probe")
    importlib.import_module(f"manyviews.app.commands.{verb}")
"""
    assert imported(source, ("manyviews", "methods")) == {"data", "views", "backbones", "nn", "tasks", "adapt", "app"}


def test_a_file_in_the_wrong_place_would_be_caught():
    assert imported("from manyviews.views import images") & FORBIDDEN["methods"]
    assert imported("from manyviews.app.model import load") & FORBIDDEN["views"]
    assert imported("from manyviews.objectives.infonce import infonce") & FORBIDDEN["nn"]
    assert not imported("from manyviews.objectives.infonce import infonce") & FORBIDDEN["methods"]
