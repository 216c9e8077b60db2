"""Names that are nowhere defined: what ruff finds of them, but for the axes of shapes, which jaxtyping writes as strings ("batch dim")."""

from __future__ import annotations

import json
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parent.parent


def undefined(*paths: Path | str) -> list[str]:
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "--output-format", "json", *map(str, paths)]
    found = json.loads(subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True, check=False).stdout)
    places = [(Path(d["filename"]), (d["location"]["row"], d["location"]["column"] - 1), d["message"]) for d in found]
    axes = {path: strings(path) for path in {path for path, _, _ in places}}
    return [f"{path.name}:{at[0]}: {said}" for path, at, said in places if not any(start <= at < end for start, end in axes[path])]


def strings(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where strings begin and end that hold no expressions."""
    with open(path, "rb") as file:
        return [(t.start, t.end) for t in tokenize.tokenize(file.readline) if t.type == tokenize.STRING and t.string[0] not in "fF"]


def test_no_name_is_undefined():
    assert not undefined("manyviews", "tests", "claims", "benchmarks")


def test_one_would_be_found(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_text('from jaxtyping import Float\n\n\ndef f(x: Float[int, "batch"], y: Float[int, "*shape"]):\n    return f"{miss}" + z(x, y)\n')
    assert undefined(path) == ["a.py:5: Undefined name `miss`", "a.py:5: Undefined name `z`"]
