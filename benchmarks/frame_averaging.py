"""What frame averaging costs beside as many forward passes of its network as there are frames: 4 for SE(3), 8 for E(3).

    python benchmarks/frame_averaging.py            # about two minutes
    python benchmarks/frame_averaging.py --small    # a few seconds: shows that it runs

All sides get the same 8 clouds of 256 points. Beside is the network alone on a batch of as many clouds as there are frames, what averaging cannot go below;
and the network called once for each frame, as it would be without folding. Forward passes are in evaluation mode without gradient, steps are forward and
backward in training mode. Processor time of one thread, the sides take turns, the ratio is the median of the rounds'. Goal: at most 1.05.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from manyviews.backbones.dgcnn import DGCNN
from manyviews.backbones.pointnet import PointNet, SmallPointNet
from manyviews.contracts import Encoder, View
from manyviews.nn.frames import principal_frames
from manyviews.symmetry.frame_averaging import FrameAveraged

GOAL = 1.05


def looked_at(x: torch.Tensor) -> View:
    return View(x, torch.arange(len(x)))


def sides(encoder: Encoder, points: torch.Tensor, reflections: bool, backward: bool) -> dict[str, Callable[[], object]]:
    """Averaged, the network alone on as many clouds, and the network frame by frame."""
    averaged = FrameAveraged(encoder, reflections)
    frames = principal_frames(points, reflections=reflections)
    many = points.repeat_interleave(frames.count, 0)

    def one_by_one() -> torch.Tensor:
        found = principal_frames(points, reflections=reflections).seen(points)
        return torch.stack([encoder(looked_at(found[:, k])) for k in range(frames.count)]).mean(0)

    work = {"averaged": lambda: averaged(looked_at(points)), "the network alone": lambda: encoder(looked_at(many)), "frame by frame": one_by_one}

    def timed(forward: Callable[[], torch.Tensor]) -> Callable[[], object]:
        def go() -> object:
            with torch.set_grad_enabled(backward):
                y = forward()
            return y.sum().backward() if backward else y

        return go

    return {name: timed(forward) for name, forward in work.items()}


def measure(small: bool, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Task -> side -> milliseconds, and times the network alone (medians); printed on the way."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(*((4, 64) if small else (8, 256)), 3, generator=generator)
    table: dict[str, dict[str, dict[str, float]]] = {}
    print(f"{'task':42s} {'side':18s} {'ms':>9s} {'times the network alone':>24s} {'goal':>6s}")
    networks = {"small PointNet": SmallPointNet, "PointNet": PointNet, "DGCNN": DGCNN}
    for name, build in networks.items():
        for reflections in (False, True):
            for backward in (False, True):
                encoder = build(3).train(backward)
                work = sides(encoder, points, reflections, backward)
                for go in work.values():
                    go()
                times: dict[str, list[float]] = {side: [] for side in work}
                for _ in range(rounds):
                    for side, go in work.items():
                        go()  # or it would pay for the memory that the side before has left
                        start = time.process_time()
                        go()
                        times[side].append(1000 * (time.process_time() - start))
                alone = times["the network alone"]
                task = f"{name}, {'E(3), 8' if reflections else 'SE(3), 4'} frames, {'step' if backward else 'forward'}"
                table[task] = {
                    side: {"ms": statistics.median(t), "ratio": statistics.median(a / b for a, b in zip(t, alone, strict=True))} for side, t in times.items()
                }
                for side, row in table[task].items():
                    print(f"{task:42s} {side:18s} {row['ms']:9.2f} {row['ratio']:24.3f} {GOAL if side == 'averaged' else '':>6}", flush=True)
    return table


def main(argv: list[str] | None = None) -> dict[str, dict[str, dict[str, float]]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="one round of small clouds: shows that it runs, measures little")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the table there as well")
    args = parser.parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        table = measure(args.small, 1 if args.small else args.rounds)
    finally:
        torch.set_num_threads(threads)
    if args.json:
        args.json.write_text(json.dumps(table, indent=2), encoding="utf-8")
    return table


if __name__ == "__main__":
    main()
