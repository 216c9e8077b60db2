"""A claim's numbers as a drawing: every arm's seeds as dots, their mean as a line, one panel for each data set and measure."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

WIDTH, ROW, LEFT, TOP, BOTTOM = 720, 24, 190, 34, 34  # pixels; left of the axis stand the arms' names
INK, FAINT, SYSTEM, OTHER = "#333333", "#bbbbbb", "#0b6e99", "#7a7a7a"


def plot(result: dict[str, Any]) -> str:
    """SVG."""
    body, height = [], 0
    better = {c["better"] for c in result["comparisons"]} or {result["system"]}
    for arena, arms in result["arms"].items():
        for measure in compared(result, arena, arms):
            rows = [(arm, found["measures"][measure]) for arm, found in arms.items() if measure in found["measures"]]
            body.append(f'<g transform="translate(0 {height})">{panel(f"{arena}, {measure}", rows, better)}</g>')
            height += TOP + ROW * len(rows) + BOTTOM
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">'
    return f'{head}<title>{escape(result["question"])}</title><rect width="{WIDTH}" height="{height}" fill="#ffffff"/>{"".join(body)}</svg>\n'


def compared(result: dict[str, Any], arena: str, arms: dict[str, Any]) -> list[str]:
    """The measures that something was asked about, or all."""
    asked = list(dict.fromkeys(c["metric"] for c in result["comparisons"] if c["data"] == arena))
    return asked or list(dict.fromkeys(m for found in arms.values() for m in found["measures"]))


def panel(title: str, rows: list[tuple[str, dict[str, Any]]], better: set[str]) -> str:
    values = [v for _, found in rows for v in found["values"]]
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - room, high + room

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - 20)

    bottom = TOP + ROW * len(rows)
    parts = [f'<text x="8" y="20" font-weight="bold" fill="{INK}">{escape(title)}</text>']
    for k in range(5):
        tick = low + (high - low) * k / 4
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP - 6}" y2="{bottom}" stroke="{FAINT}" stroke-width="0.5"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 16}" text-anchor="middle" fill="{INK}" font-size="11">{tick:.3g}</text>')
    for k, (arm, found) in enumerate(rows):
        y, colour = TOP + ROW * (k + 0.5), SYSTEM if arm in better else OTHER
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end" fill="{INK}">{escape(arm)}</text>')
        mean = x(found["mean"])
        parts.append(f'<line x1="{mean:.1f}" x2="{mean:.1f}" y1="{y - 9}" y2="{y + 9}" stroke="{colour}" stroke-width="3"/>')
        parts += [f'<circle cx="{x(v):.1f}" cy="{y}" r="4" fill="{colour}" fill-opacity="0.6"/>' for v in found["values"]]
    return "".join(parts)
