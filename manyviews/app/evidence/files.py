"""Where the files of claims are, and which one asks about a system; nothing of them is run."""

from __future__ import annotations

import ast
import functools
import os
from pathlib import Path

from manyviews.errors import InputError


def claims_folder() -> Path:
    """$MANYVIEWS_CLAIMS, else `claims/` of this checkout. Raises InputError where only the package is installed."""
    folder = Path(os.environ.get("MANYVIEWS_CLAIMS") or Path(__file__).resolve().parents[3] / "claims")
    if not folder.is_dir():
        raise InputError("claims are not part of an installed package; run this in a clone of the repository, or set $MANYVIEWS_CLAIMS")
    return folder


def names() -> list[str]:
    return sorted(path.stem for path in claims_folder().glob("*.py") if not path.stem.startswith("_"))


def claim_of(system: str) -> str | None:
    """The name of the claim that asks about a system: the one of its name, else the first whose headline is led by an arm that this method trains."""
    there = names()
    return system if system in there else next((name for name in there if headline_method(claims_folder() / f"{name}.py") == system), None)


@functools.cache
def headline_method(path: Path) -> str:
    """The method that trains the headline's better arm, read from the claim's file without running it; "" where that is not written out there."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    words = next(({w.arg: w.value for w in call.keywords} for call in calls if ast.unparse(call.func) == "Claim"), {})
    arms, versus = words.get("arms"), words.get("versus")
    if not isinstance(arms, ast.Dict) or not isinstance(versus, ast.Tuple | ast.List) or not isinstance(versus.elts[0], ast.Call):
        return ""
    better = ast.unparse(versus.elts[0].args[0])
    arm = next((arm for name, arm in zip(arms.keys, arms.values, strict=True) if name is not None and ast.unparse(name) == better), None)
    if not isinstance(arm, ast.Call) or ast.unparse(arm.func) != "Arm" or not arm.args or not isinstance(arm.args[0], ast.Constant):
        return ""
    return str(arm.args[0].value)
