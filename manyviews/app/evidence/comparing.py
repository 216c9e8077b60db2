"""What the seeds on the disk say of arms: their means, and one arm beside another."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from manyviews.app.evidence.claim import Claim, Versus
from manyviews.app.evidence.cost import Cost
from manyviews.app.evidence.store import Task, each, seeds_of
from manyviews.app.evidence.verdicts import bootstrap, decide


def summary(one: Task, seeds: dict[str, Any]) -> dict[str, Any]:
    """Mean and spread of an arm's measures over its seeds, and what it cost."""
    names = dict.fromkeys(m for row in seeds.values() for m in row["measures"])
    values = {m: [row["measures"][m]["value"] for row in seeds.values() if m in row["measures"]] for m in names}
    found = {m: {"mean": float(np.mean(v)), "spread": float(np.std(v, ddof=1)) if len(v) > 1 else None, "values": v} for m, v in values.items()}
    return {"measures": found, "training_seconds": float(np.median([row["training_seconds"] for row in seeds.values()])), "file": f"arms/{one.path.name}"}


def asked(claim: Claim, arms: dict[str, dict[str, Any]]) -> list[tuple[str, Versus]]:
    """Every comparison on every data, but where its metric is measured on other data alone; the headline first."""

    def measured(v: Versus, on: str) -> bool:
        return any(v.metric in arms[on][arm]["measures"] for arm in (v.better, v.than))

    pairs = [(arena.title, v) for arena in claim.data for v in claim.versus]
    return pairs[:1] + [(on, v) for on, v in pairs[1:] if measured(v, on) or not any(measured(v, other) for other in arms)]


def compare(claim: Claim, versus: Versus, arena: str, tasks: dict[tuple[str, str], Task], seeds: int) -> dict[str, Any]:
    """One comparison on one arena."""
    better, than = (seeds_of(tasks[arena, arm], seeds) for arm in (versus.better, versus.than))
    common = [seed for seed in better if seed in than]
    sign = 1.0 if versus.higher else -1.0

    def values(rows: dict[str, Any], metric: str) -> np.ndarray:
        return sign * np.array([rows[seed]["measures"][metric]["value"] for seed in common])

    floor = None
    metric = versus.metric if claim.arena_metric == "" else claim.arena_metric
    if versus.arena and metric is not None and versus.than not in ("untrained", "raw input"):
        untrained = seeds_of(tasks[arena, "untrained"], seeds)
        if all(seed in untrained and metric in untrained[seed]["measures"] for seed in common):
            floor = (float(values(than, metric).mean()), float(values(untrained, metric).mean()))
            floor = (sign * floor[0], sign * floor[1]) if not versus.higher and metric != versus.metric else floor
    found = {"better": versus.better, "than": versus.than, "metric": versus.metric, "data": arena, "higher": versus.higher, "margin": versus.margin}
    if versus.says:
        found["says"] = versus.says
    found |= decide(values(better, versus.metric) - values(than, versus.metric), versus.margin, floor)
    samples = [[each(rows[seed]["measures"][versus.metric]) for seed in common] for rows in (better, than)]
    if all(s is not None for part in samples for s in part) and len({len(s) for part in samples for s in part if s is not None}) == 1:
        low, high = bootstrap(sign * np.array(samples[0]), sign * np.array(samples[1]))
        found["bootstrap"] = [low, high]
    return found


def at_equal_time(claim: Claim, headline: dict[str, Any], spent: Cost | None, tasks: dict[tuple[str, str], Task], seeds: int) -> list[dict[str, Any]]:
    """The headline with what it cost, and the same against the baseline that was trained for as long."""
    if spent is None:
        return [headline]
    found = [{**headline, "cost": spent.describe()}]
    if spent.longer and not spent.why:
        says = f"At equal time: {headline['than']} with {spent.longer.times:.2f} times the steps."
        versus = dataclasses.replace(claim.versus[0], than=spent.longer.title, says=says)
        found.append(compare(claim, versus, headline["data"], tasks, seeds))
    return found
