"""A claim's result as text."""

from __future__ import annotations

from typing import Any


def result_table(result: dict[str, Any]) -> str:
    """The question, a line for each arm, the comparisons and the verdict."""
    lines = [f"{result['system']}: {result['question']}", f"paper: {result['paper']}"]
    for arena, arms in result["arms"].items():
        names = list(dict.fromkeys(m for arm in arms.values() for m in arm["measures"]))
        rows = [[arena, *names, "training"]]
        for arm, row in arms.items():
            cells = [spread(row["measures"][m]) if m in row["measures"] else "" for m in names]
            rows.append([arm, *cells, f"{row['training_seconds']:.0f} s" if row["training_seconds"] else ""])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["", *("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)]
    if result["comparisons"]:
        lines.append("")
    lines += [sentence(c) for c in result["comparisons"]]
    if "verdict" in result:
        lines += ["", f"verdict: {result['verdict']}" + (f" ({result['why']})" if result.get("why") else "")]
    return "\n".join(lines)


def spread(measure: dict[str, Any]) -> str:
    return f"{measure['mean']:.3f}" + (f" ± {measure['spread']:.3f}" if measure["spread"] is not None else "")


def sentence(c: dict[str, Any]) -> str:
    """One comparison in one line."""
    interval = f"[{c['low']:+.3f}, {c['high']:+.3f}]" if c["low"] is not None else "[no interval of one seed]"
    text = f"{c['data']}: {c['better']} against {c['than']}, {c['metric']}: {c['difference']:+.3f} {interval} over {c['seeds']} seeds"
    if c.get("bootstrap"):
        text += f", [{c['bootstrap'][0]:+.3f}, {c['bootstrap'][1]:+.3f}] over test samples"
    if c["margin"]:
        text += f", margin {c['margin']:g}"
    text += f": {c['verdict']}"
    if c.get("detectable") is not None:
        text += f"; {c['detectable']:.3f} would have been found"
    if "cost" in c:
        text += f"\n  {cost(c)}"
    return f"{c['says']}\n  {text}" if c.get("says") else text


def cost(c: dict[str, Any]) -> str:
    """What the better arm of a comparison took beside the other, and what it is compared with at equal time."""
    spent = c["cost"]
    text = f"{c['better']} took {spent['ratio']:.2f} times the training seconds of {c['than']}"
    if not spent["beside"]:
        return f"{text}; nothing stands beside it at equal time: {spent['why']}"
    return f"{text}; at equal time stands {spent['beside']}" + (f": {spent['why']}" if spent["why"] else "")
