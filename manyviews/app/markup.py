"""Pieces of HTML. Everything that a name, a path or a class could smuggle in is escaped here."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Sequence
from typing import Any


def text(value: Any) -> str:
    """Escaped for text and for attributes in quotes."""
    return html.escape(str(value).encode("utf-8", "backslashreplace").decode(), quote=True)


def embedded(value: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def each(make: Callable[..., str], rows: Any) -> str:
    """`make` of every row, one after the other."""
    return "".join(make(*row) for row in rows)


def tile(k: int, columns: int, said: str, kind: str = "") -> str:
    """Picture k of a sheet of thumbnails."""
    at = f"--x:{k % columns};--y:{k // columns}"
    return f'<span class="tile {kind}" role="img" aria-label="{text(said)}" title="{text(said)}" style="{at}"></span>'


def number(value: float | int) -> str:
    """No more digits than a person reads."""
    if not math.isfinite(value):
        return "not a number"
    if 0 < abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def duration(seconds: float | int) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def score(found: dict[str, Any] | None) -> str:
    """A cell: the number, its interval, and a bar where it is a share."""
    if found is None or found.get("value") is None:
        return '<span class="none">none</span>'
    value, low, high = found["value"], found.get("low"), found.get("high")
    interval = f" <small>[{number(low)}, {number(high)}]</small>" if low is not None and high is not None else ""
    if not 0 <= value <= 1:
        return number(value) + interval
    ends = f";--l:{max(low, 0):.4f};--h:{min(high, 1):.4f}" if low is not None and high is not None else ""
    return f'{number(value)}{interval}<span class="bar{" ranged" if interval else ""}" style="--v:{value:.4f}{ends}" aria-hidden="true"></span>'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str] = ()) -> str:
    """A table with headers of both kinds, which scrolls where it is too wide. Cells are HTML, the rest is text; `kinds` are the columns' classes."""
    styles = [text(kind.split(" ")[0]) for kind in kinds] or [""] * (len(head) - 1)
    top = each('<th scope="col" class="{}">{}</th>'.format, zip(["", *styles], map(text, head), strict=True))
    body = each(
        lambda first, *rest: f'<tr><th scope="row">{first}</th>' + each('<td class="{}">{}</td>'.format, zip(styles, rest, strict=True)) + "</tr>", rows
    )
    inside = f"<table><caption>{text(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}">{inside}</div>'
