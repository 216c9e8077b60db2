"""The section of the report on what an encoder ignores and what it keeps track of: curves against strength, and tables.

What `manyviews evaluate --only symmetry` left is shown, each number beside the untrained encoder's and the raw input's. Records of earlier versions lack some
curves, or all; then the rest is shown.
"""

from __future__ import annotations

import math
import re
from typing import Any

from manyviews.app.markup import each, number, score, table, text
from manyviews.app.plot import Axis, Line, Point, legend, plot

Found = dict[str, dict[str, Any]]  # who -> what was measured of one transformation: verdict, scores, beside, refused, curves

KIND = {"trained": "trained", "untrained": "untrained"}  # of the lines; "raw" for all others
MAIN = (  # of curves the first that there is of each line
    ("moved",),
    ("move explained by a linear map", "explained by a linear map"),
    ("move explained by an orthogonal map for each element",),
    ("move explained by a map for each element",),
    ("angle in degrees, perceptron", "R2, perceptron", "error of g, perceptron"),
)
TABLE = re.compile("invariance|equivariance.*|(move )?explained by .*|R2 of .*|R2, .*|angle in degrees.*|Lie norm.*")
TITLES = {"moved": "How far the embedding moves"}


def symmetry(content: dict[str, Any]) -> str:
    """Nothing where it was not measured. Levels of the encoder stand with the transformation that they were tried on, to be opened."""
    found = measured(content)
    names = list(dict.fromkeys(name for own in found.values() for name in own))
    axes = shared_axes(found)

    def block(name: str, heading: str = "h3") -> str:
        return of_transformation(name, {who: own[name] for who, own in found.items() if name in own}, axes, heading)

    def whole(name: str) -> str:
        levels = [(other, "h4") for other in names if other.startswith(f"{name}, level ")]
        opened = f"<details><summary>{text(capital(name))}, level by level</summary>{each(block, levels)}</details>" if levels else ""
        return block(name) + opened

    alone = [(name,) for name in names if name.split(", level ")[0] == name or name.split(", level ")[0] not in names]
    return INTRODUCTION + each(whole, alone) if alone else ""


INTRODUCTION = """<p>Each sample is changed by random elements of a transformation, at strengths from the identity to full strength. <em>Moved</em> is how
far the embedding goes with it: 0 not at all, 1 as far as unrelated samples are apart; an encoder that ignores the transformation stays at 0.
<em>Move explained</em> is the share of that move that a map of the embedding predicts on samples it was not fitted on; <em>explained</em> is the share
of where it goes, seen from the mean embedding, of which not moving (identity) already explains a part; <em>R2</em> is how well the parameters of the
transformation are read from the two embeddings. Of each 1 is perfect, and below 0 is worse than not moving, or than the mean: there plots end at -0.5;
the tables go on. Shaded, and in brackets, are 95 % intervals over test samples.</p>
<p>What an encoder has learned to ignore or to keep track of is what it does beyond the untrained encoder and the raw input.</p>"""


def measured(content: dict[str, Any]) -> dict[str, Found]:
    """Who -> transformation -> all that was measured; empty where that was not asked for, or cannot be read."""
    saved = (content.get("evaluation") or {}).get("symmetry")
    if not isinstance(saved, dict):
        return {}
    found = {who: {name: own for name, own in rows.items() if isinstance(own, dict)} for who, rows in saved.items() if isinstance(rows, dict)}
    scores = content["evaluation"].get("scores", {})
    return {who: {name: with_scores(own, f"{name}: ", scores.get(who, {})) for name, own in rows.items()} for who, rows in found.items() if rows}


def with_scores(own: dict[str, Any], prefix: str, scores: dict[str, Any]) -> dict[str, Any]:
    """What was measured apart of the same transformation (the Lie norm) stands with the rest."""
    apart = {measure.removeprefix(prefix): s for measure, s in scores.items() if measure.startswith(prefix)}
    return {**own, "scores": {**(own.get("scores") or {}), **{m: s for m, s in apart.items() if m not in (own.get("scores") or {})}}}


def of_transformation(name: str, found: Found, axes: dict[str, Axis], heading: str) -> str:
    """Its verdicts, curves, table, and what was refused."""
    curves = {curve: lines_of(found, curve) for curve in parts(found, "curves")}
    curves = {curve: lines for curve, lines in curves.items() if any(line.points for line in lines)}
    first = [next(curve for curve in same if curve in curves) for same in MAIN if any(curve in curves for curve in same)]
    first += [curve for curve in curves if re.fullmatch("R2 of .*, perceptron", curve)]
    who = list(found)
    body = f"<{heading}>{text(capital(name))}</{heading}>" + verdicts(found)
    if first:
        body += legend([(w, KIND.get(w, "raw")) for w in who]) + drawn(name, first, curves, axes)
    shown = rows(found, True)
    body += table(f"{capital(name)}: what is ignored and kept track of", ["measure", *who], shown, who) if shown else ""
    body += refused(found) + the_rest(name, found, curves, [curve for curve in curves if curve not in first], axes)
    return f'<div class="transformation">{body}</div>'


def drawn(name: str, which: list[str], curves: dict[str, list[Line]], axes: dict[str, Axis]) -> str:
    def figure(curve: str) -> str:
        return plot(TITLES.get(curve, capital(curve)), curves[curve], axes[curve], "identity", "full strength")

    return f'<div class="plots" role="group" aria-label="{text(capital(name))}: curves">{each(figure, [(curve,) for curve in which])}</div>'


def the_rest(name: str, found: Found, curves: dict[str, list[Line]], more: list[str], axes: dict[str, Axis]) -> str:
    """What few look at: the other curves, all as a table, the other scores, and what chance or a constant reach."""
    body, who = "", list(found)
    if more:
        body += drawn(f"{name}, further", more, curves, axes)
    further = rows(found, False)
    body += table(f"{capital(name)}: further measures", ["measure", *who], further, who) if further else ""
    if curves:
        at = sorted({point.at for lines in curves.values() for line in lines for point in line.points})
        values = [
            [text(curve), text(line.name), *(next((number(p.value) for p in line.points if p.at == s), "") for s in at)]
            for curve in curves
            for line in curves[curve]
        ]
        body += table(f"{capital(name)}: the curves as numbers, by strength", ["curve", "encoder", *(f"{s:g}" for s in at)], values)
    return f"<details><summary>All that was measured of {text(name)}</summary>{body}</details>" if body else ""


def verdicts(found: Found) -> str:
    """One sentence for each encoder of which more is to be said than its numbers, with what was refused for that reason."""

    def said(who: str, verdict: str, lost: list[str]) -> str:
        refused = f" Refused for that: {text(', '.join(lost))}." if lost else ""
        return f'<p class="note"><strong>{text(capital(who))}</strong>: {text(verdict.rstrip("."))}.{refused}</p>'

    rows = [(who, str(own.get("verdict") or "measured"), dict(own.get("refused") or {})) for who, own in found.items()]
    return each(said, [(who, verdict, [name for name, why in lost.items() if why == verdict]) for who, verdict, lost in rows if verdict != "measured"])


def refused(found: Found) -> str:
    """What was not measured, and why; of whom, where not of all."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for who, own in found.items():
        for name, why in (own.get("refused") or {}).items():
            if why != own.get("verdict"):
                reasons.setdefault((str(name), str(why)), []).append(who)
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (name, why), of in reasons.items():
        grouped.setdefault((why, tuple(of)), []).append(name)
    lines = [(text(", ".join(names)), "" if len(of) == len(found) else f" ({text(', '.join(of))})", text(why)) for (why, of), names in grouped.items()]
    return '<ul class="refused">' + each("<li>Not measured: {0}{1}: {2}.</li>".format, lines) + "</ul>" if lines else ""


def parts(found: Found, key: str) -> list[str]:
    """The names of scores, curves ..., in the order in which they were measured."""
    return list(dict.fromkeys(name for own in found.values() for name in (own.get(key) or {})))


def rows(found: Found, first: bool) -> list[list[str]]:
    """Of scores, and of what stands beside them (what chance, a constant or the mean reach), those for everybody or those for few."""
    scores = [[text(n), *(score(own["scores"].get(n)) for own in found.values())] for n in parts(found, "scores") if bool(TABLE.fullmatch(n)) == first]
    beside = [
        [text(n), *(cell((own.get("beside") or {}).get(n)) for own in found.values())] for n in parts(found, "beside") if bool(TABLE.fullmatch(n)) == first
    ]
    return scores + beside


def cell(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else '<span class="none">none</span>'


def lines_of(found: Found, curve: str) -> list[Line]:
    """One a who; without points where there are none, as where something was refused."""
    return [Line(who, KIND.get(who, "raw"), points((own.get("curves") or {}).get(curve) or [])) for who, own in found.items()]


def points(saved: list[Any]) -> list[Point]:
    """Of what is saved the finite values, their intervals where these are finite."""

    def finite(value: Any) -> float | None:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    read = [(at, *(finite(s.get(key)) for key in ("value", "low", "high"))) for at, s in saved]
    return [Point(float(at), value, low, high) for at, value, low, high in read if value is not None]


def shared_axes(found: dict[str, Found]) -> dict[str, Axis]:
    """One axis for each curve, the same for all transformations, so that they can be compared."""
    lines: dict[str, list[Line]] = {}
    for own in found.values():
        for name, one in own.items():
            for curve in one.get("curves") or {}:
                lines.setdefault(curve, []).extend(lines_of({name: one}, curve))
    return {curve: Axis(0.0, 180.0, 60.0) if curve.startswith("angle") else Axis.of_shares(of) for curve, of in lines.items()}


def capital(name: str) -> str:
    return name[:1].upper() + name[1:]
