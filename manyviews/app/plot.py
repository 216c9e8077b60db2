"""A small plot as SVG: lines with their intervals, drawn without a script, in the colours of the page's style."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from manyviews.app.markup import each, number, text

WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 300, 152, 34, 6, 8, 20


@dataclasses.dataclass(frozen=True)
class Point:
    """A value with its interval, which may be missing."""

    at: float
    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return number(self.value) + (f" [{number(self.low)}, {number(self.high)}]" if self.low is not None and self.high is not None else "")


@dataclasses.dataclass(frozen=True)
class Line:
    name: str
    kind: str  # class of the page's style
    points: Sequence[Point]

    def __str__(self) -> str:
        ends = dict.fromkeys((self.points[0], self.points[-1]))
        return f"{self.name} " + " and ".join(f"{point} at {point.at:g}" for point in ends)


@dataclasses.dataclass(frozen=True)
class Axis:
    """What of the values is drawn. Lines that leave it are cut."""

    low: float
    high: float
    step: float  # from one grid line to the next

    @classmethod
    def of_shares(cls, lines: Sequence[Line]) -> Axis:
        """From 0 to 1, and down to -0.5 or up to 2 where values are there; intervals do not count."""
        values = [point.value for line in lines for point in line.points]
        low, high = min(values, default=0.0), max(values, default=1.0)
        return cls(max(-0.5, math.floor(4 * low) / 4) if low < -0.02 else 0.0, min(2.0, max(1.0, math.ceil(4 * high) / 4)), 0.5)

    @property
    def ticks(self) -> list[float]:
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [k * self.step for k in range(first, last + 1)]


def plot(title: str, lines: Sequence[Line], axis: Axis, begin: str, end: str) -> str:
    """A figure over 0 to 1; `begin` and `end` say what these mean. Pointing at a value tells it; whoever cannot see is told both ends of each line."""
    lines = [line for line in lines if line.points]
    label = text(f"{title}, from {begin} (0) to {end} (1): {'; '.join(map(str, lines))}")
    floor = HIGH - BOTTOM
    grid = each(
        lambda v: (
            f'<line class="{"zero" if v == 0 else "grid"}" x1="{LEFT}" x2="{WIDE}" y1="{down(v, axis)}" y2="{down(v, axis)}"/>'
            f'<text x="{LEFT - 6}" y="{down(v, axis) + 4:.1f}" text-anchor="end">{v:g}</text>'
        ),
        [(v,) for v in axis.ticks],
    )
    below = f'<text x="{LEFT}" y="{HIGH - 4}">{text(begin)}</text><text x="{WIDE}" y="{HIGH - 4}" text-anchor="end">{text(end)}</text>'
    inside = each(lambda line: band(line, axis), [(line,) for line in lines]) + each(lambda line: stroke(line, axis), [(line,) for line in lines])
    window = f'<svg y="{TOP - 4}" width="{WIDE}" height="{floor - TOP + 8}" viewBox="0 {TOP - 4} {WIDE} {floor - TOP + 8}">{inside}</svg>'
    drawn = f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{label}">{grid}{below}{window}</svg>'
    return f'<figure class="plot"><figcaption>{text(title)}</figcaption>{drawn}</figure>'


def along(at: float) -> float:
    return round(LEFT + (WIDE - LEFT - RIGHT) * at, 1)


def down(value: float, axis: Axis) -> float:
    """Of values far outside the axis no more than that they are outside."""
    share = (axis.high - value) / (axis.high - axis.low)
    return round(TOP + (HIGH - TOP - BOTTOM) * min(max(share, -9.0), 10.0), 1)


def band(line: Line, axis: Axis) -> str:
    low = [f"{along(p.at)},{down(p.low, axis)}" for p in line.points if p.low is not None and p.high is not None]
    high = [f"{along(p.at)},{down(p.high, axis)}" for p in line.points if p.low is not None and p.high is not None]
    return f'<polygon class="{line.kind}" points="{" ".join(low + high[::-1])}"/>' if len(low) > 1 else ""


def stroke(line: Line, axis: Axis) -> str:
    path = " ".join(f"{along(p.at)},{down(p.value, axis)}" for p in line.points)
    dots = each(
        lambda p: f'<circle class="{line.kind}" cx="{along(p.at)}" cy="{down(p.value, axis)}" r="2"><title>{text(line.name)}, {p.at:g}: {p}</title></circle>',
        [(p,) for p in line.points],
    )
    return f'<polyline class="{line.kind}" points="{path}"/>{dots}'


def legend(names: Sequence[tuple[str, str]]) -> str:
    """Name and class of each line, with a piece of it."""
    piece = '<span><svg viewBox="0 0 28 8" aria-hidden="true"><polyline class="{1}" points="0,4 28,4"/></svg> {0}</span>'
    return '<p class="key">' + each(piece.format, [(text(name), text(kind)) for name, kind in names]) + "</p>"
