"""What a step of Point-MAE is spent on: 1,024 points, 32 clouds, 64 groups of 32, a transformer of 12 blocks, 384 wide (arXiv:2203.06604).

    python benchmarks/point_mae_step.py            # about two minutes
    python benchmarks/point_mae_step.py --small    # the micro encoder, a few seconds

A step is forward, backward and the optimizer's step. Its parts are timed alone on the same clouds, in processor time: grouping (farthest points, nearest
points, their rows) and the Chamfer distance of the restored groups with its gradient; each also as the loops that are usually written in PyTorch, and the
whole step in bfloat16 where the machine has it. Waiting for data is what a run of as many steps says. Goals: grouping and Chamfer 5 % of the step, waiting 5 %.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from neighbours import loop_farthest, loop_nearest
from torch import Tensor

from manyviews import pretrain
from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.methods.mask.point_mae import PointMAE
from manyviews.nn.hardware import has_bf16
from manyviews.nn.neighbours import chamfer, farthest_point_sampling, group, knn

BATCH, POINTS, GROUPS, MEMBERS, MASKED = 32, 1024, 64, 32, 0.6


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The median of processor time, after one round that does not count."""
    work()
    found = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def usual_grouping(points: Tensor) -> Tensor:
    """As it is often written: one distance after another, then a sort."""
    centres = group(points, loop_farthest(points, GROUPS))
    return group(points, loop_nearest(centres, points, MEMBERS))


def grouping(points: Tensor) -> Tensor:
    centres = group(points, farthest_point_sampling(points, GROUPS))
    return group(points, knn(centres, points, MEMBERS)[1])


def usual_chamfer(a: Tensor, b: Tensor) -> Tensor:
    distance = (a[:, :, None] - b[:, None]).square().sum(-1)
    return distance.amin(2).mean(1) + distance.amin(1).mean(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    torch.set_num_threads(2)
    rounds, name = (3, "point_transformer_micro") if small else (5, "point_transformer")
    encoder = build_encoder(name, 3, POINTS, seed=0)
    method = PointMAE(encoder, depth=1, heads=3) if small else PointMAE(encoder)
    optimizer = torch.optim.AdamW(method.parameters(), 1e-3)
    points = torch.rand(BATCH, POINTS, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    view = View(points, torch.arange(BATCH))
    method.counter = Counter(0, 0)

    def step(precision: torch.dtype = torch.float32) -> None:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = torch.stack([term for term in method.loss(v=view).values() if term.requires_grad]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    restored, there = (torch.rand(int(BATCH * GROUPS * MASKED), MEMBERS, 3) for _ in range(2))
    restored.requires_grad_(True)
    whole = seconds(step, rounds)
    rows = {
        "step": whole,
        "grouping": seconds(lambda: grouping(points), rounds),
        "grouping, PyTorch loops": seconds(lambda: usual_grouping(points), rounds),
        "Chamfer and its gradient": seconds(lambda: chamfer(restored, there).mean().backward(), rounds),
        "Chamfer, PyTorch": seconds(lambda: usual_chamfer(restored, there).mean().backward(), rounds),
    }
    if has_bf16("cpu"):
        rows["step in bfloat16"] = seconds(lambda: step(torch.bfloat16), rounds)
    for what, took in rows.items():
        print(f"{what:28} {1000 * took:9.1f} ms  {took / whole:7.1%} of the step")
    ours = rows["grouping"] + rows["Chamfer and its gradient"]
    print(f"{'grouping + Chamfer':28} {1000 * ours:9.1f} ms  {ours / whole:7.1%} of the step; goal 5 %")
    with tempfile.TemporaryDirectory() as folder:
        settings = {"depth": 1, "heads": 3} if small else {}
        run = pretrain(
            "builtin:points",
            "point_mae",
            name,
            Path(folder) / "run",
            steps=3 * rounds,
            batch=BATCH,
            size=POINTS,
            probe_every=1000,
            settings=settings,
            quiet=True,
        )
        steps = [row for row in run.metrics if "waiting" in row][rounds:]
        waiting, spent = sum(row["waiting"] for row in steps), sum(row["seconds"] for row in steps)
        print(f"{'waiting for data':28} {1000 * waiting / len(steps):9.1f} ms  {waiting / spent:7.1%} of a run's step; goal 5 %")


if __name__ == "__main__":
    main()
