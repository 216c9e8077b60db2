"""Runs what a claim still lacks, arm by arm and seed by seed, in parallel where cores allow; what is done is on the disk, so it can be stopped any time."""

from __future__ import annotations

import concurrent.futures as futures
import dataclasses
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

from manyviews.app.evidence.claim import Claim, load_claim
from manyviews.app.evidence.comparing import asked, at_equal_time, compare, summary
from manyviews.app.evidence.cost import cost
from manyviews.app.evidence.files import names as all_claims
from manyviews.app.evidence.store import Task, claim_code, keep, packed, read_arm, read_result, results_folder, seeds_of, task, write_result, write_seed
from manyviews.app.evidence.verdicts import NOT_RUN
from manyviews.app.run import versions
from manyviews.errors import InputError


def wanted(claim: Claim, budget: str) -> list[Task]:
    """Every arm on every arena, once, and the headline's baseline for as long as what it is compared with, where that is asked for."""
    found = cost(claim, budget)
    tasks = own_arms(claim, budget) + ([found.longer] if found and found.longer else [])
    return list({t.path: t for t in tasks}.values())


def own_arms(claim: Claim, budget: str) -> list[Task]:
    return [task(claim, arm, arena, budget) for arena in claim.data for arm in claim.all_arms()]


def missing(claim: Claim, seeds: int, budget: str) -> list[tuple[Task, int]]:
    """What has not been run, or was run with other code; how long a baseline must be trained is known once its claim's own arms are done."""
    left = lacking(own_arms(claim, budget), seeds)
    return left or lacking(wanted(claim, budget), seeds)


def lacking(tasks: Sequence[Task], seeds: int) -> list[tuple[Task, int]]:
    found = []
    for one in {t.path: t for t in tasks}.values():
        known = read_arm(one)
        found += [(one, seed) for seed in range(1 if one.seedless else seeds) if known["stale"] or str(seed) not in known["seeds"]]
    return sorted(found, key=lambda pair: pair[1])  # all arms of a seed before the next one: what is done can be compared


def is_stale(name: str, budget: str = "small") -> bool:
    """Whether there is no result, or its claim's file, or the code or data description of an arm, has changed since."""
    result = read_result(name, budget)
    if result is None:
        return True
    claim = load_claim(name)
    if result.get("verdict") == NOT_RUN:
        return result["code"] != claim_code(claim)
    return result["code"] != claim_code(claim) or bool(missing(claim, result["seeds"], budget))


def refresh(names: Sequence[str], budget: str = "small", quiet: bool = False, jobs: int = 0) -> int:
    """Of the arms whose code has changed, those that still give the numbers of their canary keep their results; how many did.

    A changed file is not always a changed result: a new schedule beside the old ones, a renamed variable. Three small steps tell.
    """
    stale = {one.path: one for name in names for one in wanted(load_claim(name), budget) if read_arm(one)["stale"] and read_arm(one).get("canary")}
    kept = 0
    os.environ["OMP_NUM_THREADS"] = "1"
    with pool_of(min(workers(jobs), len(stale)) or 1) as pool:
        songs = {one.path: pool.submit(sing, one.claim, one.arm, one.arena.title, budget, one.times) for one in stale.values()}
        for one in stale.values():
            found, known = songs[one.path].result(), read_arm(one)["canary"]
            same = found is not None and alike(found, known)
            if same:
                keep(one)
                kept += 1
            if not quiet:
                print(f"{one.path.name}: {'code changed, numbers did not: kept' if same else 'gives other numbers now'}", file=sys.stderr)
    return kept


def alike(found: Sequence[float], known: Sequence[float]) -> bool:
    """Whether two songs are one: four numbers of five within a thousandth, all within a twentieth.

    Adam's first steps follow the sign of a gradient, so that a weight whose gradient is zero but for rounding (a bias before a normalisation) goes another
    way on another processor: up to one number of eight was seen 0.1 to 2 % off, where a tenth more of the rate moves one of three by up to 12 %.
    """
    if len(found) != len(known):
        return False
    near, far = (np.isclose(found, known, rtol=rtol, atol=1e-5) for rtol in (1e-3, 5e-2))
    return bool(near.mean() >= 0.8 and far.all())


def sing(claim: str, arm: str, arena: str, budget: str, times: float = 1.0) -> list[float] | None:
    """An arm's canary, in this process; None where it cannot be had."""
    from manyviews.app.evidence.bench import Bench

    torch.set_num_threads(1)
    definition = load_claim(claim)
    where = next(a for a in definition.data if a.title == arena)
    run = definition.all_arms()[arm].run
    try:
        bench = Bench(where, task(definition, arm, where, budget, times).words, 0, precision="32-true", brief=run is not None)
        if run is None:
            return bench.canary()
        run(bench)
        return bench.heard or None
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
    """Processes that share nothing with each other, each for arms one after the other: to start one costs a fifth of a small arm. For one job this process.

    They are not replaced as they go (`max_tasks_per_child`): in Python 3.11 a pool hangs that loses its last process while work is waiting.
    """
    return Here() if jobs == 1 else futures.ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))


def workers(jobs: int) -> int:
    """As many as asked for; else as many as there are cores, one where a GPU does the work."""
    return jobs or (1 if torch.cuda.is_available() else os.cpu_count() or 1)


# --- running ----------------------------------------------------------------------------------------------------------------------------------


def run_claims(names: Sequence[str], seeds: int | None = None, budget: str = "small", minutes: float | None = None, jobs: int = 0, quiet: bool = False) -> bool:
    """Runs what these claims lack and writes their results; whether all is done. After `minutes` nothing new is begun."""
    claims = {name: load_claim(name) for name in names}
    for claim in claims.values():
        if budget == "full" and not claim.full:
            raise InputError(f"the claim {claim.system} has no full budget")
    refresh(names, budget, quiet, jobs)
    began = time.monotonic()
    failures: dict[Any, str] = {}
    for _ in range(2):  # the claims' own arms; then baselines for as long as what they are compared with took
        todo: dict[tuple[Any, int], tuple[Task, int]] = {}
        left = [missing(claim, seeds or claim.seeds, budget) for claim in claims.values()]
        for one, seed in itertools.chain(*sorted(left, key=len)):  # what lacks least comes first: a time that is short still brings verdicts
            if one.path not in failures:
                todo.setdefault((one.path, seed), (one, seed))
        spare = None if minutes is None else minutes - (time.monotonic() - began) / 60
        failures |= work(list(todo.values()), spare, jobs, quiet, budget) if todo else {}
    done = True
    for name, claim in claims.items():
        done &= conclude(name, claim, seeds or claim.seeds, budget, failures)
    return done


def work(todo: list[tuple[Task, int]], minutes: float | None, jobs: int, quiet: bool, budget: str) -> dict[Any, str]:
    """Runs all of it, or what can be begun in the time; returns the failures by the arm's path."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    jobs = min(workers(jobs), len(todo))
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
                running[pool.submit(run_arm, one.claim, one.arm, one.arena.title, seed, threads, budget, one.times)] = (one, seed)
            if not running:
                break
            finished, _ = futures.wait(running, return_when=futures.FIRST_COMPLETED)
            for future in finished:
                one, seed = running.pop(future)
                row, failure, canary = future.result()
                if row is None:
                    failures[one.path] = failure
                    print(f"\n{one.claim}: {one.title} on {one.arena.title}, seed {seed}: {failure}", file=sys.stderr)
                else:
                    write_seed(one, seed, row, canary)
                numbers = ", ".join(f"{name} {m['value']:.3f}" for name, m in (row or {}).get("measures", {}).items())
                bar.update(shown, advance=1, said=f"{one.title} on {one.arena.title}, seed {seed}: {numbers}")
    return failures


def run_arm(
    claim: str, arm: str, arena: str, seed: int, threads: int, budget: str, times: float = 1.0
) -> tuple[dict[str, Any] | None, str, list[float] | None]:
    """One arm with one seed, in this process: its row, or None and what went wrong; and its canary, with the first seed."""
    from manyviews.app.evidence.bench import Bench

    torch.set_num_threads(threads)
    definition = load_claim(claim)
    try:
        where = next(a for a in definition.data if a.title == arena)
        what = definition.all_arms()[arm]
        bench = Bench(where, task(definition, arm, where, budget, times).words, seed, threads)
        began = time.perf_counter()
        if what.run is not None:
            measures = dict(what.run(bench))
        else:
            method = bench.untrained() if what.method in ("", "raw") else bench.pretrain()
            measures = dict(definition.measure(bench, method) if definition.measure else bench.probes(method.exported))
        row = {"measures": packed(measures), "training_seconds": round(bench.seconds, 1), "seconds": round(time.perf_counter() - began, 1)}
        row |= {"data": [part.fingerprint() for part in (bench.pretraining, bench.train, bench.test)], "machine": platform.machine(), "threads": threads}
        row |= {
            "clock": "processor" if bench.device == "cpu" else "wall",
            "precision": str(bench.fabric._precision.precision),
            "versions": versions(),
            "date": f"{datetime.date.today()}",
        }
        return row, "", sing(claim, arm, arena, budget, times) if seed == 0 else None
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
    """Writes the claim's result from what is on the disk; whether nothing is missing. The verdict does not wait for a baseline that is trained longer."""
    tasks = {(t.arena.title, t.title): t for t in own_arms(claim, budget)}
    left = lacking(list(tasks.values()), seeds)
    broken = {t.path: failures[t.path] for t in tasks.values() if t.path in failures}
    spent = None if left else cost(claim, budget)
    later = spent.longer if spent else None
    if spent and later:
        tasks[later.arena.title, later.title] = later
        if lacking([later], seeds):
            spent = dataclasses.replace(spent, why=failures.get(later.path) or "it is not trained yet")
    content: dict[str, Any] = {
        "system": claim.system, "paper": claim.paper, "question": claim.question, "budget": budget, "seeds": seeds, "code": claim_code(claim),
        "command": f"manyviews claim {name}" + (f" --seeds {seeds}" if seeds != claim.seeds else "") + (" --budget full" if budget == "full" else ""),
        "date": f"{datetime.date.today()}", "versions": versions(), "arms": {}, "comparisons": [],
    }  # fmt: skip
    for (arena, arm), one in tasks.items():
        if rows := seeds_of(one, seeds):
            content["arms"].setdefault(arena, {})[arm] = summary(one, rows)
    if not left:
        content["comparisons"] = [compare(claim, v, arena, tasks, seeds) for arena, v in asked(claim, content["arms"])]
        content["comparisons"][:1] = at_equal_time(claim, content["comparisons"][0], spent, tasks, seeds)
        headline = content["comparisons"][0]
        content["verdict"] = headline["verdict"]
        content["why"] = headline.get("why", "")
    elif broken:
        content.update(verdict=NOT_RUN, why=next(iter(broken.values())))
    if "verdict" in content:
        write_result(name, content)
    return not missing(claim, seeds, budget) or any(t.path in failures for t in tasks.values())
