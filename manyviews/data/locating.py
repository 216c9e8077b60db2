"""Where data lies: a path, or a name below $MANYVIEWS_DATA, and the choices that may stand behind it."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from manyviews.data import shards
from manyviews.data.labels import text
from manyviews.errors import InputError


def divided(name: str) -> tuple[str, str, str]:
    """A path, and the choices that stand behind its question mark, where no file has that name: FILE?label=COLUMN."""
    return (name, "", "") if Path(name).expanduser().exists() else name.partition("?")


def located(name: str) -> Path:
    """The path itself, or below $MANYVIEWS_DATA. Raises InputError with the nearest names."""
    path = Path(name).expanduser()
    root = Path(os.environ["MANYVIEWS_DATA"]).expanduser() if os.environ.get("MANYVIEWS_DATA") else None
    candidates = [path] if root is None or path.is_absolute() else [path, root / path]
    for candidate in candidates:
        if candidate.exists() or (".tar" in candidate.name and "{" in str(candidate)):
            if not candidate.exists() and candidate != candidates[-1] and not any(map(os.path.exists, shards.expand(str(candidate)))):
                continue
            return candidate
    known = ["builtin", "fractals"]
    for place in {c.parent for c in candidates if c.parent.is_dir()}:
        with os.scandir(place) as entries:
            known += [e.name if place in (root, Path()) else os.path.join(place, e.name) for e, _ in zip(entries, range(10_000), strict=False)]
    near = [text(n) for n in difflib.get_close_matches(str(path), known, 3, 0.6)]
    hint = f"; the nearest are {', '.join(near)}" if near else ""
    below = f", nor below $MANYVIEWS_DATA ({root})" if root else "; names of data sets are looked up below $MANYVIEWS_DATA, which is not set"
    raise InputError(f"no data at {text(name)!r}{below}{hint}; `manyviews data` lists what can be opened")
