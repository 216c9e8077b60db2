"""knn and linear probe on cached features, beside scikit-learn with the same k, weights, penalty and stopping rule.

    python benchmarks/knn_linear.py            # 50,000 x 512 features, 100 classes, 10,000 queries: some minutes on two cores
    python benchmarks/knn_linear.py --small    # 4,000 rows: seconds, for the tests

Both sides take turns in one process with the same number of threads; times are medians over rounds, and the ratio is theirs to ours. Features are
made up: classes overlap in a few strong directions, the rest is noise of a decaying spectrum; all mixed by a rotation and standardised.
The linear probe minimizes the same function on both sides, mean cross-entropy plus a penalty, until no entry of its gradient exceeds the tolerance;
with bf16 products the last way is gone in float32, so that the same rule holds there. Where the processor has no bf16, manyviews takes float32 products
instead, and the output says that this is what stands in the rows of bf16.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from manyviews.evaluate.knn import knn
from manyviews.evaluate.linear import fit
from manyviews.evaluate.scores import Labelled
from manyviews.nn.hardware import has_bf16

K, TEMPERATURE, PENALTY, TOLERANCE = 20, 0.07, 1e-3, 1e-5
GOALS = {"float32": 1.0, "bf16": 2.5}  # times as fast as scikit-learn; accuracy within 0.1 point


def features(rows: int, queries: int, dim: int, classes: int, separation: float, strong: int = 16, seed: int = 0) -> tuple[Labelled, Labelled]:
    """Training and test features: `strong` directions in which class means differ, and as much noise in all others together as in a few of those."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (rows + queries,), generator=g)
    signal = separation * torch.randn(classes, strong, generator=g)[y] + torch.randn(rows + queries, strong, generator=g)
    noise = torch.randn(rows + queries, dim - strong, generator=g) * (-1 - 3 * torch.linspace(0, 1, dim - strong)).exp()
    x = torch.cat([signal, noise], 1) @ torch.linalg.qr(torch.randn(dim, dim, generator=g)).Q
    x = (x - x[:rows].mean(0)) / x[:rows].std(0, correction=0)
    return Labelled(x[:rows], y[:rows], classes), Labelled(x[rows:], y[rows:], classes)


def contestants(train: Labelled, test: Labelled) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """What is timed: task -> side -> predicted classes of the test rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    x, y, t = train.x.numpy(), train.y.numpy(), test.x.numpy()

    def their_knn() -> Tensor:
        votes = KNeighborsClassifier(K, weights=lambda distance: np.exp((1 - distance) / TEMPERATURE), algorithm="brute", metric="cosine")
        return torch.from_numpy(votes.fit(x, y).predict(t))

    def their_linear() -> Tensor:
        return torch.from_numpy(LogisticRegression(C=1 / (PENALTY * len(x)), tol=TOLERANCE, max_iter=10_000).fit(x, y).predict(t))

    def our_linear(products: torch.dtype) -> Tensor:
        return fit(train, (PENALTY,), products, TOLERANCE, standardise=False)[0].predict(test.x)

    return {
        "knn": {
            "scikit-learn": their_knn,
            "float32": lambda: knn(train.x, train.y, test.x, K, TEMPERATURE),
            "bf16": lambda: knn(train.x, train.y, test.x, K, TEMPERATURE, torch.bfloat16),
        },
        "linear": {"scikit-learn": their_linear, "float32": lambda: our_linear(torch.float32), "bf16": lambda: our_linear(torch.bfloat16)},
    }


def measure(train: Labelled, test: Labelled, rounds: int) -> list[dict[str, float | str]]:
    """One row a task and side; sides take turns."""
    sides = contestants(train, test)
    seconds: dict[tuple[str, str], list[float]] = {}
    points: dict[tuple[str, str], float] = {}
    for _ in range(rounds):
        for task, runs in sides.items():
            for side, predict in runs.items():
                since = time.perf_counter()
                answers = predict()
                seconds.setdefault((task, side), []).append(time.perf_counter() - since)
                print(f"{task} {side}: {seconds[task, side][-1]:.1f} s", file=sys.stderr)
                points[task, side] = 100 * float((answers == test.y).double().mean())
    rows: list[dict[str, float | str]] = []
    for (task, side), times in seconds.items():
        theirs = statistics.median(seconds[task, "scikit-learn"])
        median = statistics.median(times)
        gap = points[task, side] - points[task, "scikit-learn"]
        rows.append(
            {
                "task": task,
                "side": side,
                "seconds": median,
                "ratio": theirs / median,
                "accuracy": points[task, side],
                "gap": gap,
                "goal": GOALS.get(side, 1.0),
                "products": "bfloat16" if side == "bf16" and has_bf16("cpu") else "float32",
            }
        )
    return rows


def table(rows: list[dict[str, float | str]]) -> str:
    lines = [f"{'task':8}{'side':14}{'seconds':>9}{'times as fast':>15}{'goal':>6}{'accuracy %':>12}{'points off':>12}"]
    lines += ["{task:8}{side:14}{seconds:9.2f}{ratio:15.2f}{goal:6.1f}{accuracy:12.2f}{gap:+12.2f}".format(**row) for row in rows]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> list[dict[str, float | str]]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--small", action="store_true", help="4,000 x 64 features and one round")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side runs (default: 3)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of both sides (default: all cores)")
    parser.add_argument("--out", type=Path, help="write the rows to this JSON file as well")
    args = parser.parse_args(argv)
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(args.threads)
    size = (
        {"rows": 4000, "queries": 1000, "dim": 64, "classes": 10, "separation": 1.1}
        if args.small
        else {"rows": 50_000, "queries": 10_000, "dim": 512, "classes": 100, "separation": 1.1}
    )
    train, test = features(**size)
    with threadpool_limits(args.threads):
        rows = measure(train, test, 1 if args.small else args.rounds)
    print(f"{len(train):,} x {train.x.shape[1]} features, {train.classes} classes, {len(test):,} queries, {args.threads} threads")
    print(table(rows))
    if not has_bf16("cpu"):
        print("this processor has no bf16: what stands in its rows was done in float32")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return rows


if __name__ == "__main__":
    main()
