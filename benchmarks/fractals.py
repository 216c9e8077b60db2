"""Fractals: how many pictures a second are painted.

    python benchmarks/fractals.py              # half a minute
    python benchmarks/fractals.py --small      # a few pictures, a few seconds

Nothing is stored, so this is the rate at which training can read them. "core" counts processor time of one thread, so that other work on the machine
matters little; "two threads" is time on the clock, as a training's readers do it: run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from manyviews.data.dataset import Data
from manyviews.data.fractals import fractals

GOAL = 300  # pictures of 64 pixels a second, on two cores
SETS = {
    "one fractal, 64 pixels": {"side": 64},
    "up to five, 64 pixels": {"side": 64, "instances": 5},
    "up to five, 32 pixels": {"side": 32, "instances": 5},
    "up to five, 224 pixels": {"side": 224, "instances": 5},
}


def core(data: Data, count: int) -> float:
    """Pictures a second of processor time, one thread."""
    start = time.process_time()
    for row in range(count):
        data.store.raw(row)
    return count / (time.process_time() - start)


def threads(data: Data, count: int) -> float:
    """Pictures a second on the clock, two threads."""
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda rows: [data.store.raw(row) for row in rows], [range(k, min(k + 16, count)) for k in range(0, count, 16)]))
    return count / (time.perf_counter() - start)


def measure(rounds: int, count: int) -> dict[str, dict[str, float]]:
    """Name -> rates, medians over rounds."""
    table = {}
    for name, settings in SETS.items():
        data = fractals(1000, 10, **settings)
        core(data, 16)  # compiles
        share = max(16, count * 64**2 // max(64, settings["side"]) ** 2)
        table[name] = {
            "core": statistics.median(core(data, share) for _ in range(rounds)),
            "two threads": statistics.median(threads(data, share) for _ in range(rounds)),
        }
        if settings["side"] == 64:
            table[name]["goal"] = GOAL
    return table


def main(argv: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a few pictures: shows that it runs, measures little")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the table there as well")
    args = parser.parse_args(argv)
    table = measure(1 if args.small else args.rounds, 32 if args.small else 1024)
    print(f"{'pictures a second':28s} {'core':>8s} {'two threads':>12s} {'goal':>6s}")
    for name, row in table.items():
        print(f"{name:28s} {row['core']:8,.0f} {row['two threads']:12,.0f} {row.get('goal', ''):>6}")
    if args.json:
        args.json.write_text(json.dumps(table, indent=2), encoding="utf-8")
    return table


if __name__ == "__main__":
    main()
