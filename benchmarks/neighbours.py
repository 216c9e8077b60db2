"""Neighbours in point clouds, beside fpsample, scipy's cKDTree, pykdtree and the PyTorch that is usually written for them.

    pip install fpsample==1.0.2 pykdtree==1.4.3
    python benchmarks/neighbours.py            # about three minutes
    python benchmarks/neighbours.py --small    # one round of small clouds, a few seconds

All sides have one thread and take turns on the same clouds. In a turn a side does its work twice and the second is timed, in processor time, so that
neither other work on the machine nor memory that the last side left matters much. Trees are built anew each time, as augmented clouds need it.
Shown is what share of their answers is ours; fpsample's bucket variant starts from a row of its own choice, so that its points differ. "PyTorch loop"
is one call of PyTorch after another over the whole batch: for nearest points all distances, then a sort, or topk. A goal is how many times as fast
as the fastest library, or as the loop, ours must be; the last line is memory of a whole process.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ["OMP_NUM_THREADS"] = "1"  # read by pykdtree when it is loaded

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from manyviews.nn.neighbours import chamfer, farthest_point_sampling, group, knn

LOOPS = ("PyTorch loop", "PyTorch topk")
GOALS = {"64 farthest of 1024, 32 clouds": (4.0, 10.0), "32 nearest of 64 in 1024, 32 clouds": (2.5, 10.0)}  # beside libraries, beside the loop
ENOUGH = 30.0  # seconds for a task, after three rounds
MEGABYTES = 1000  # that a process may have for 100,000 queries in 100,000 points
Side = Callable[[], object]


def loop_farthest(points: Tensor, count: int) -> Tensor:
    batch, n, _ = points.shape
    near, at, clouds = torch.full((batch, n), 1e10), torch.zeros(batch, dtype=torch.long), torch.arange(batch)
    chosen = torch.zeros(batch, count, dtype=torch.long)
    for k in range(count):
        chosen[:, k] = at
        distance = ((points - points[clouds, at][:, None]) ** 2).sum(-1)
        mask = distance < near
        near[mask] = distance[mask]
        at = near.max(-1).indices
    return chosen


def loop_nearest(queries: Tensor, points: Tensor, k: int) -> Tensor:
    distance = -2 * queries @ points.transpose(1, 2) + (queries**2).sum(-1)[:, :, None] + (points**2).sum(-1)[:, None]
    return distance.argsort(-1)[..., :k]


def farthest_sides(points: Tensor, count: int) -> dict[str, Side]:
    clouds = list(points.numpy())
    sides: dict[str, Side] = {"ours": lambda: farthest_point_sampling(points, count)}
    try:
        import fpsample
    except ImportError:
        print("fpsample is not installed, and left out", file=sys.stderr)
    else:
        if points.shape[1] <= 10_000:
            sides["fpsample"] = lambda: torch.from_numpy(np.stack([fpsample.fps_sampling(c, count, start_idx=0) for c in clouds]).astype(np.int64))
        sides["fpsample buckets"] = lambda: [fpsample.bucket_fps_kdline_sampling(c, count, 7 if len(c) > 10_000 else 3) for c in clouds]
    if points.shape[1] <= 10_000:
        sides["PyTorch loop"] = lambda: loop_farthest(points, count)
    return sides


def nearest_sides(queries: Tensor, points: Tensor, k: int) -> dict[str, Side]:
    pairs = list(zip(queries.numpy(), points.numpy(), strict=True))
    sides: dict[str, Side] = {"ours": lambda: knn(queries, points, k)[1], "cKDTree": lambda: tensor([cKDTree(p).query(q, k)[1] for q, p in pairs])}
    try:
        from pykdtree.kdtree import KDTree
    except ImportError:
        print("pykdtree is not installed, and left out", file=sys.stderr)
    else:
        sides["pykdtree"] = lambda: tensor([KDTree(p).query(q, k)[1] for q, p in pairs])
    if points.shape[1] <= 10_000:
        sides["PyTorch loop"] = lambda: loop_nearest(queries, points, k)
        sides["PyTorch topk"] = lambda: torch.cdist(queries, points).topk(k, largest=False).indices
    return sides


def tensor(rows: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.int64))


def chamfer_sides(a: Tensor, b: Tensor) -> dict[str, Side]:
    """Gradients of both clouds, after forward and backward."""
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()

    def by_tree() -> Tensor:
        there = tensor([cKDTree(q).query(p)[1] for p, q in zip(a.detach().numpy(), b.detach().numpy(), strict=True)])
        back = tensor([cKDTree(p).query(q)[1] for p, q in zip(a.detach().numpy(), b.detach().numpy(), strict=True)])
        return (a - group(b, there)).square().sum(-1).mean(1) + (b - group(a, back)).square().sum(-1).mean(1)

    def by_loop() -> Tensor:
        q = (a[:, :, None] - b[:, None]).square().sum(-1)
        return q.min(2).values.mean(1) + q.min(1).values.mean(1)

    def both(value: Callable[[], Tensor]) -> Side:
        return lambda: torch.cat(torch.autograd.grad(value().sum(), (a, b)), 1)

    sides = {"ours": both(lambda: chamfer(a, b)), "cKDTree": both(by_tree)}
    if a[..., 0].numel() * b.shape[1] < 1 << 24:
        sides["PyTorch loop"] = both(by_loop)
    return sides


def contestants(small: bool) -> dict[str, dict[str, Side]]:
    """Task -> side -> what it does in a turn."""
    generator = torch.Generator().manual_seed(0)
    few, many = (4, 2000) if small else (32, 100_000)

    def cloud(*shape: int) -> Tensor:
        return torch.randn(*shape, 3, generator=generator)

    points, large = cloud(few, 1024), cloud(1, many)
    return {
        "64 farthest of 1024, 32 clouds": farthest_sides(points, 64),
        "1024 farthest of 100,000": farthest_sides(large, many // 100),
        "32 nearest of 64 in 1024, 32 clouds": nearest_sides(points[:, :64].contiguous(), points, 32),
        "16 nearest of 1024 in 1024, 32 clouds": nearest_sides(points, points, 16),
        "32 nearest of 100,000 in 100,000": nearest_sides(large, large, 32),
        "Chamfer, 2048 groups of 32": chamfer_sides(cloud(64 * few, 32), cloud(64 * few, 32)),
        "Chamfer, 16 clouds of 2048": chamfer_sides(cloud(few // 2, 2048), cloud(few // 2, 2048)),
    }


def agreement(ours: object, theirs: object) -> float:
    """Share of equal rows, or of gradients that are close."""
    if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor):
        return float("nan")
    return float((ours == theirs if ours.dtype == torch.long else (ours - theirs).abs() < 1e-5).double().mean())


def measure(small: bool, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Task -> side -> milliseconds (median over rounds), times ours is as fast, and share of answers that are ours."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for task, sides in contestants(small).items():
        answers = {name: side() for name, side in sides.items()}  # compiles
        times: dict[str, list[float]] = {name: [] for name in sides}
        since = time.perf_counter()
        for done in range(rounds):
            if done >= 3 and time.perf_counter() - since > ENOUGH:
                break
            for name, side in sides.items():
                side()  # or it would pay for the memory that the side before has left
                start = time.process_time()
                side()
                times[name].append(1000 * (time.process_time() - start))
        ours = times["ours"]
        table[task] = {}
        for name, taken in times.items():
            ratio = statistics.median(t / o for t, o in zip(taken, ours, strict=True))
            table[task][name] = {"ms": statistics.median(taken), "ratio": ratio, "same": agreement(answers["ours"], answers[name])}
    return table


def memory(points: int) -> float:
    """Megabytes that a process has at most, with all that it imports, which looks for the 32 nearest of so many points in as many (Linux)."""
    code = f"""
import torch
from manyviews.nn.neighbours import knn
torch.set_num_threads(1)
x = torch.randn(1, {points}, 3)
knn(x, x, 32)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout) / 1024


def report(table: dict[str, dict[str, dict[str, float]]]) -> None:
    print(f"{'task':40s} {'side':18s} {'ms':>9s} {'ours is so many times as fast':>30s} {'same answers':>13s} {'goal':>6s}")
    for task, sides in table.items():
        libraries = [row["ratio"] for name, row in sides.items() if name not in ("ours", *LOOPS)]
        for name, row in sides.items():
            beside_library, beside_loop = GOALS.get(task, (None, None))
            goal = beside_loop if name == "PyTorch loop" else beside_library if libraries and row["ratio"] == min(libraries) else None
            same = "" if np.isnan(row["same"]) else f"{100 * row['same']:.2f} %"
            print(f"{task:40s} {name:18s} {row['ms']:9.2f} {row['ratio']:30.1f} {same:>13s} {goal or '':>6}")


def main(argv: list[str] | None = None) -> dict[str, dict[str, dict[str, float]]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="one round of small clouds: shows that it runs, measures little")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the table there as well")
    args = parser.parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        table = measure(args.small, 1 if args.small else args.rounds)
    finally:
        torch.set_num_threads(threads)
    report(table)
    points = 2_000 if args.small else 100_000
    table["memory"] = {"ours": {"megabytes": memory(points), "goal": MEGABYTES}}
    print(f"32 nearest of {points:,} in {points:,}: {table['memory']['ours']['megabytes']:.0f} MB in all, PyTorch with them; goal: under {MEGABYTES}")
    if args.json:
        args.json.write_text(json.dumps(table, indent=2), encoding="utf-8")
    return table


if __name__ == "__main__":
    main()
