"""A training step of GroCo, iSogCLR and PixPro beside one of SimCLR (InfoNCE): same encoder, heads' width, batch, views and optimizer.

    python benchmarks/objectives.py            # ResNet-18 with a 3x3 stem, 32 pixels, batch 128, two threads: a minute or some
    python benchmarks/objectives.py --small    # a small encoder, batch 32: seconds, shows that it runs

A step is `fit`'s on views that are there already: forward, loss, backward, what the method does before and after the optimizer's step, and that step: GroCo's
has its sorting, iSogCLR's the update of its samples' states. PixPro's has two more passes through a slow copy of the encoder, which are not its loss; beside
it stands BYOL, which has the same passes and no pixels, and PixPro's ratio to it. All sides take turns in one process; ratios are medians of the rounds',
on the clock and, less touched by other work on the machine, in processor time. Goal: each at most 1.3 times SimCLR's step.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from simclr_step import InMemory

from manyviews.app.building import build_method
from manyviews.app.launch import make_fabric
from manyviews.app.options import has_bf16
from manyviews.backbones.building import build_encoder
from manyviews.contracts import Recipe
from manyviews.counters import Counter
from manyviews.data.opening import open_data
from manyviews.train.fit import fit
from manyviews.views import images

GOAL, SIZE = 1.3, 32
WARM = 2  # steps that fill caches and do not count
HEADS = {"hidden": 512, "out": 128}
SIDES = ("simclr", "groco", "isogclr", "pixpro", "byol")
PAIRS = {"groco": "simclr", "isogclr": "simclr", "pixpro": "simclr", "byol": "simclr", "pixpro beside byol": "byol"}  # the name's first word beside this
ASKED = ("groco", "isogclr", "pixpro")  # what the goal is for
RECIPE = Recipe(optimizer="sgd", lr=0.01)
OneStep = Callable[[], tuple[float, float]]  # seconds of the clock and of the processor


def sides(encoder: str, batch: int, steps: int) -> dict[str, OneStep]:
    """Every method on the same views of one batch, ready for so many steps, its weights from the same seed."""
    samples = np.random.default_rng(0).integers(0, 256, (batch, 2 * SIZE, 2 * SIZE, 3), dtype=np.uint8)
    data = open_data(samples)
    policy = images.simclr(SIZE)
    some = data.batch(np.arange(batch))
    views = policy(some, Counter(0, 0))
    fabric = make_fabric(1, "bf16-mixed" if has_bf16() else "32-true")

    def side(name: str) -> OneStep:
        torch.manual_seed(0)
        method, _ = build_method(name, build_encoder(encoder, 3, SIZE, seed=0), data, **HEADS)

        loop = fit(
            method, InMemory(some), lambda samples, counter: copied(views), steps=steps, batch=batch, recipe=RECIPE, fabric=fabric, channels_last=True
        )  # fmt: skip

        def step() -> tuple[float, float]:
            clock, processor = time.perf_counter(), time.process_time()
            assert np.isfinite(next(loop).loss)
            return time.perf_counter() - clock, time.process_time() - processor

        return step

    return {name: side(name) for name in SIDES}


def copied(views: dict[str, Any]) -> dict[str, Any]:
    """The same views as new objects, as a step may keep things in them."""
    return {role: dataclasses.replace(view) for role, view in views.items()}


def measure(encoder: str, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds a step of every side, and the ratios of `PAIRS`; medians over rounds, on the clock and in processor time."""
    turns = sides(encoder, batch, WARM + rounds)
    for step in WARM * list(turns.values()):
        step()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, step in turns.items():
            seconds[name].append(step())
            print(f"{name}: {seconds[name][-1][0]:.3f} s a step", file=sys.stderr)
    table: dict[str, dict[str, float]] = {}
    for kind, what in enumerate(("clock", "processor")):
        found = {f"{name}, seconds": statistics.median(row[kind] for row in rows) for name, rows in seconds.items()}
        for pair, beside in PAIRS.items():
            rows = zip(seconds[pair.split()[0]], seconds[beside], strict=True)
            found[pair] = statistics.median(a[kind] / b[kind] for a, b in rows)
        table[what] = found
    return table


def main(argv: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a small encoder, batch 32, five rounds: shows that it runs, measures little")
    parser.add_argument("--encoder", default="resnet18_small")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5, help="steps of each side that count")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the table there as well")
    args = parser.parse_args(argv)
    if args.small:
        args.encoder, args.batch, args.rounds = "resnet_nano", 32, 5
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        table = measure(args.encoder, args.batch, args.rounds)
    finally:
        torch.set_num_threads(before)
    print(f"{args.encoder}, {SIZE} pixels, batch {args.batch}, {args.threads} threads; processor time in brackets")
    clock, processor = table["clock"], table["processor"]
    for name in SIDES:
        print(f"  {name:8s} {1000 * clock[f'{name}, seconds']:8.1f} ms a step ({1000 * processor[f'{name}, seconds']:.1f})")
    for pair, beside in PAIRS.items():
        goal = f" (goal: at most {GOAL})" if pair in ASKED else ""
        print(f"  {pair.split()[0]}: {clock[pair]:.2f} times {beside}'s step ({processor[pair]:.2f}){goal}")
    if args.json:
        args.json.write_text(json.dumps({**table, "encoder": args.encoder, "batch": args.batch, "threads": args.threads}, indent=2), encoding="utf-8")
    return table


if __name__ == "__main__":
    main()
