"""Runs what a claim still lacks, arm by arm and seed by seed, in parallel where cores allow; what is done is on the disk, so it can be stopped any time."""

from __future__ import annotations

import concurrent.futures as futures
import datetime
import itertools
import multiprocessing
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manyviews.app.evidence.claim import Claim, Versus, load_claim
from manyviews.app.evidence.claim import names as all_claims
from manyviews.app.evidence.store import Task, claim_code, each, keep, packed, read_arm, read_result, results_folder, seeds_of, task, write_result, write_seed
from manyviews.app.evidence.verdicts import NOT_RUN, bootstrap, decide
from manyviews.app.run import versions
from manyviews.errors import InputError


def wanted(claim: Claim, budget: str) -> list[Task]:
    """Every arm on every arena, once."""
    tasks = [task(claim, arm, arena, budget) for arena in claim.data for arm in claim.all_arms()]
    return list({t.path: t for t in tasks}.values())


def missing(claim: Claim, seeds: int, budget: str) -> list[tuple[Task, int]]:
    """What has not been run, or was run with other code."""
    found = []
    for one in wanted(claim, budget):
        known = read_arm(one)
        found += [(one, seed) for seed in range(1 if one.seedless else seeds) if known["stale"] or str(seed) not in known["seeds"]]
    return sorted(found, key=lambda pair: pair[1])  # all arms of a seed before the next one: what is done can be compared


def is_stale(name: str) -> bool:
    """Whether there is no result, or its claim's file, or the code or data description of an arm, has changed since."""
    result = read_result(name)
    if result is None:
        return True
    claim = load_claim(name)
    if result.get("verdict") == NOT_RUN:
        return result["code"] != claim_code(claim)
    return result["code"] != claim_code(claim) or bool(missing(claim, result["seeds"], result["budget"]))


def refresh(names: Sequence[str], budget: str = "small", quiet: bool = False) -> int:
    """Of the arms whose code has changed, those that still give the numbers of their canary keep their results; how many did.

    A changed file is not always a changed result: a new schedule beside the old ones, a renamed variable. Three small steps tell.
    """
    stale = {one.path: one for name in names for one in wanted(load_claim(name), budget) if read_arm(one)["stale"] and read_arm(one).get("canary")}
    kept = 0
    with pool_of(1) as pool:
        for one in stale.values():
            found = pool.submit(sing, one.claim, one.arm, one.arena.title, budget).result()
            known = read_arm(one)["canary"]
            alike = found is not None and len(found) == len(known) and bool(np.allclose(found, known, rtol=1e-3, atol=1e-5))
            if alike:
                keep(one)
                kept += 1
            if not quiet:
                print(f"{one.path.name}: {'code changed, numbers did not: kept' if alike else 'gives other numbers now'}", file=sys.stderr)
    return kept


def sing(claim: str, arm: str, arena: str, budget: str) -> list[float] | None:
    """An arm's canary, in this process; None where it cannot be had."""
    from manyviews.app.evidence.bench import Bench

    torch.set_num_threads(1)
    definition = load_claim(claim)
    where = next(a for a in definition.data if a.title == arena)
    if definition.all_arms()[arm].run is not None:
        return None
    try:
        return Bench(where, task(definition, arm, where, budget).words, 0, precision="32-true").canary()
    except Exception as error:
        print(f"{claim}: the canary of {arm} died: {error}", file=sys.stderr)
        return None


class Here(futures.Executor):
    """Runs what it is given at once, in this process."""

    def submit(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()
        future.set_result(f(*args, **kwargs))
        return future


def pool_of(jobs: int) -> futures.Executor:
    """Processes that share nothing, each for one arm; for one job this process."""
    if jobs == 1:
        return Here()
    return futures.ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1)


# --- running ----------------------------------------------------------------------------------------------------------------------------------


def run_claims(names: Sequence[str], seeds: int | None = None, budget: str = "small", minutes: float | None = None, jobs: int = 0, quiet: bool = False) -> bool:
    """Runs what these claims lack and writes their results; whether all is done. After `minutes` nothing new is begun."""
    claims = {name: load_claim(name) for name in names}
    for claim in claims.values():
        if budget == "full" and not claim.full:
            raise InputError(f"the claim {claim.system} has no full budget")
    refresh(names, budget, quiet)
    todo: dict[tuple[Any, int], tuple[Task, int]] = {}
    lacking = [missing(claim, seeds or claim.seeds, budget) for claim in claims.values()]
    for one, seed in itertools.chain(*sorted(lacking, key=len)):  # what lacks least comes first: a time that is short still brings verdicts
        todo.setdefault((one.path, seed), (one, seed))
    failures = work(list(todo.values()), minutes, jobs, quiet, budget) if todo else {}
    done = True
    for name, claim in claims.items():
        done &= conclude(name, claim, seeds or claim.seeds, budget, failures)
    return done


def work(todo: list[tuple[Task, int]], minutes: float | None, jobs: int, quiet: bool, budget: str) -> dict[Any, str]:
    """Runs all of it, or what can be begun in the time; returns the failures by the arm's path."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    jobs = jobs or (1 if torch.cuda.is_available() else os.cpu_count() or 1)
    jobs = min(jobs, len(todo))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    failures: dict[Any, str] = {}
    began = time.monotonic()
    columns = [TextColumn("claims"), BarColumn(None), MofNCompleteColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn(), TimeRemainingColumn()]
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by the processes as they start
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar, pool_of(jobs) as pool:
        shown = bar.add_task("claims", total=len(todo), said="")
        waiting = list(todo)
        running: dict[futures.Future[tuple[dict[str, Any] | None, str, list[float] | None]], tuple[Task, int]] = {}
        while waiting or running:
            while waiting and len(running) < jobs and (minutes is None or time.monotonic() - began < 60 * minutes):
                one, seed = waiting.pop(0)
                if one.path in failures:
                    bar.advance(shown)
                    continue
                running[pool.submit(run_arm, one.claim, one.arm, one.arena.title, seed, threads, budget)] = (one, seed)
            if not running:
                break
            finished, _ = futures.wait(running, return_when=futures.FIRST_COMPLETED)
            for future in finished:
                one, seed = running.pop(future)
                row, failure, canary = future.result()
                if row is None:
                    failures[one.path] = failure
                    print(f"\n{one.claim}: {one.arm} on {one.arena.title}, seed {seed}: {failure}", file=sys.stderr)
                else:
                    write_seed(one, seed, row, canary)
                numbers = ", ".join(f"{name} {m['value']:.3f}" for name, m in (row or {}).get("measures", {}).items())
                bar.update(shown, advance=1, said=f"{one.arm} on {one.arena.title}, seed {seed}: {numbers}")
    return failures


def run_arm(claim: str, arm: str, arena: str, seed: int, threads: int, budget: str) -> tuple[dict[str, Any] | None, str, list[float] | None]:
    """One arm with one seed, in this process: its row, or None and what went wrong; and its canary, with the first seed."""
    from manyviews.app.evidence.bench import Bench

    torch.set_num_threads(threads)
    definition = load_claim(claim)
    try:
        where = next(a for a in definition.data if a.title == arena)
        what = definition.all_arms()[arm]
        bench = Bench(where, task(definition, arm, where, budget).words, seed, threads)
        began = time.perf_counter()
        if what.run is not None:
            measures = dict(what.run(bench))
        else:
            method = bench.untrained() if what.method in ("", "raw") else bench.pretrain()
            measures = dict(definition.measure(bench, method) if definition.measure else bench.probes(method.exported))
        row = {"measures": packed(measures), "training_seconds": round(bench.seconds, 1), "seconds": round(time.perf_counter() - began, 1)}
        row |= {"data": [part.fingerprint() for part in (bench.pretraining, bench.train, bench.test)], "machine": platform.machine(), "threads": threads}
        row |= {"precision": str(bench.fabric._precision.precision), "versions": versions(), "date": f"{datetime.date.today()}"}
        return row, "", sing(claim, arm, arena, budget) if seed == 0 else None
    except InputError as error:
        return None, "; ".join(error.problems), None
    except Exception as error:
        traceback.print_exc()
        return None, f"{type(error).__name__}: {error}", None


def prune() -> list[Path]:
    """Removes the arms that no claim asks for any more."""
    claims = [load_claim(name) for name in all_claims()]
    asked = {t.path for claim in claims for t in wanted(claim, "small") + (wanted(claim, "full") if claim.full else [])}
    gone = [path for path in (results_folder() / "arms").glob("*.json") if path not in asked]
    for path in gone:
        path.unlink()
    return gone


# --- concluding -------------------------------------------------------------------------------------------------------------------------------


def conclude(name: str, claim: Claim, seeds: int, budget: str, failures: dict[Any, str]) -> bool:
    """Writes the claim's result from what is on the disk; whether nothing is missing."""
    tasks = {(arena.title, arm): task(claim, arm, arena, budget) for arena in claim.data for arm in claim.all_arms()}
    left = {(t.path, seed) for t, seed in missing(claim, seeds, budget)}
    content: dict[str, Any] = {
        "system": claim.system, "paper": claim.paper, "question": claim.question, "budget": budget, "seeds": seeds, "code": claim_code(claim),
        "command": f"manyviews claim {name}" + (f" --seeds {seeds}" if seeds != claim.seeds else "") + (" --budget full" if budget == "full" else ""),
        "date": f"{datetime.date.today()}", "versions": versions(), "arms": {}, "comparisons": [],
    }  # fmt: skip
    for (arena, arm), one in tasks.items():
        if rows := seeds_of(one, seeds):
            content["arms"].setdefault(arena, {})[arm] = summary(one, rows)
    broken = {t.path: failures[t.path] for t in tasks.values() if t.path in failures}
    if not left:
        content["comparisons"] = [compare(claim, v, arena.title, tasks, seeds) for arena in claim.data for v in claim.versus]
        headline = content["comparisons"][0]
        content["verdict"] = headline["verdict"]
        content["why"] = headline.get("why", "")
    elif broken:
        content.update(verdict=NOT_RUN, why=next(iter(broken.values())))
    if "verdict" in content:
        write_result(name, content)
    return not left or bool(broken)


def summary(one: Task, seeds: dict[str, Any]) -> dict[str, Any]:
    """Mean and spread of an arm's measures over its seeds, and what it cost."""
    names = dict.fromkeys(m for row in seeds.values() for m in row["measures"])
    values = {m: [row["measures"][m]["value"] for row in seeds.values() if m in row["measures"]] for m in names}
    found = {m: {"mean": float(np.mean(v)), "spread": float(np.std(v, ddof=1)) if len(v) > 1 else None, "values": v} for m, v in values.items()}
    return {"measures": found, "training_seconds": float(np.median([row["training_seconds"] for row in seeds.values()])), "file": f"arms/{one.path.name}"}


def compare(claim: Claim, versus: Versus, arena: str, tasks: dict[tuple[str, str], Task], seeds: int) -> dict[str, Any]:
    """One comparison on one arena."""
    better, than = (seeds_of(tasks[arena, arm], seeds) for arm in (versus.better, versus.than))
    common = [seed for seed in better if seed in than]
    sign = 1.0 if versus.higher else -1.0

    def values(rows: dict[str, Any], metric: str) -> np.ndarray:
        return sign * np.array([rows[seed]["measures"][metric]["value"] for seed in common])

    floor = None
    metric = versus.metric if claim.arena_metric == "" else claim.arena_metric
    if metric is not None and versus.than not in ("untrained", "raw input"):
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
