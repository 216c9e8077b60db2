"""Where data lies: a path, or a name below $MANYVIEWS_DATA, and the choices that may stand behind it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from manyviews.data import shards
from manyviews.data.labels import text
from manyviews.errors import InputError


def divided(name: str) -> tuple[str, str, str]:
    """A path, and the choices that stand behind its question mark, where no file has that name: FILE?label=COLUMN."""
    return (name, "", "") if Path(name).expanduser().exists() else name.partition("?")


def chosen(source: str | Path, known: Mapping[str, Callable[[str], Any]]) -> tuple[Path, dict[str, Any]]:
    """A path, and what is said behind its question mark: KEY=VALUE, several joined by &, each read by its function in `known`,
    which gets it as it was typed (%26 for & ...).

    Raises InputError with everything that is not understood; a function tells what it expects by a ValueError.
    """
    name, _, words = divided(str(source))
    found, problems = {}, []
    for word in filter(None, words.split("&")):
        key, _, value = word.partition("=")
        try:
            if key not in known or not value:
                near = difflib.get_close_matches(key, known, 1)
                raise ValueError(f"expected KEY=VALUE with KEY one of {', '.join(known)}" + (f"; did you mean {near[0]}?" if near and key not in known else ""))
            found[key] = known[key](value)
        except ValueError as expected:
            problems.append(f"{word!r} after the ? of {text(name)}: {expected}")
    if problems:
        raise InputError(*problems)
    return Path(name), found


def number(value: str) -> float:
    """One number."""
    try:
        return float(value)
    except ValueError:
        raise ValueError("expected a number") from None


def numbers(value: str) -> tuple[float, ...]:
    """One number, or several with commas between them."""
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise ValueError("expected numbers with commas between them") from None


def count(value: str) -> int:
    """A whole number, 1 or more."""
    if not value.isdigit() or int(value) < 1:
        raise ValueError("expected a whole number, 1 or more")
    return int(value)


def natural(value: str) -> int:
    """A whole number, from 0."""
    if not value.isdigit():
        raise ValueError("expected a whole number, from 0")
    return int(value)


def one_of(*known: str) -> Callable[[str], str]:
    """What reads one of some words."""

    def read(value: str) -> str:
        if value not in known:
            raise ValueError(f"expected {' or '.join(known)}")
        return value

    return read


def whether(value: str) -> bool:
    """Yes or no."""
    if value.lower() not in ("yes", "no", "true", "false", "1", "0"):
        raise ValueError("expected yes or no")
    return value.lower() in ("yes", "true", "1")


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
