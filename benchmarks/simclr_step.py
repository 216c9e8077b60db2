"""A SimCLR step, from files on disk to updated weights, beside lightly with its documented defaults; and beside our step on a batch in memory.

    python benchmarks/simclr_step.py           # ResNet-18 with a 3x3 stem, 32 pixels, batch 256: some minutes on two cores
    python benchmarks/simclr_step.py --small   # batch 16: seconds, shows that it runs

Ours is what `manyviews pretrain` runs: `fit` with two reading threads, bf16 where the hardware has it, channels_last, LARS. lightly is its SimCLR example:
its transform in a PyTorch DataLoader (two workers), torchvision's ResNet-18, its projection head, its NTXentLoss, SGD, float32. The stem, the
temperature, the sizes of head and batch and the strength of the augmentation are the same. Files are decoded in every step on both sides ("from files"); with
"kept" they were decoded once before, which is what `manyviews pretrain` does with data of up to 1 GB. "in memory" is our step alone, on views that are
there. Both sides have as many threads as PyTorch may use and take turns of several steps; a turn is timed from its first request for data, workers'
start included, to its last updated weight.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from manyviews.app.building import build_method
from manyviews.app.launch import make_fabric
from manyviews.app.options import has_bf16
from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.train.fit import fit
from manyviews.views import images

GOALS = {"lightly": 3.0, "in memory": 1.1}  # ours from files: at least 3 times lightly's speed, at most 1.1 times the time of the step in memory
Turn = Callable[[int], float]  # does so many steps and returns the seconds


def pictures(folder: Path, count: int) -> Path:
    """CIFAR-10's training pictures from $MANYVIEWS_DATA, or as many made-up PNGs of 32 x 32."""
    known = Path(os.environ.get("MANYVIEWS_DATA", "")) / "cifar10" / "train"
    if os.environ.get("MANYVIEWS_DATA") and known.is_dir():
        return known
    rng = np.random.default_rng(0)
    (folder / "made up").mkdir()
    for i in range(count):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC).save(folder / "made up" / f"{i:06d}.png")
    return folder


@dataclasses.dataclass
class InMemory:
    """One batch that is there already, as a data set."""

    samples: View
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    def batches(self, order: Any, threads: int, substitute: bool = False) -> Iterator[View]:
        return (self.samples for _ in order)


def ours(data: Data | InMemory, policy: Callable[[View, Counter], dict[str, Any]], of: Data, batch: int) -> Turn:
    """`fit` as `manyviews pretrain` calls it."""
    fabric = make_fabric(1, "bf16-mixed" if has_bf16() else "32-true")
    method, recipe = build_method("simclr", build_encoder("resnet18_small", 3, 32, seed=0), of)

    def turn(steps: int) -> float:
        loop = fit(method, data, policy, steps=steps, batch=batch, recipe=recipe, fabric=fabric, threads=2, channels_last=True)
        start = time.perf_counter()
        for step in loop:
            assert np.isfinite(step.loss)
        return time.perf_counter() - start

    return turn


def theirs(folder: Path, batch: int) -> Turn:
    """lightly's SimCLR example. Ends the program with a sentence where lightly is missing."""
    from manyviews.nn import torchvision_schemas

    torchvision_schemas.declare()
    try:
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead
        from lightly.transforms import SimCLRTransform
    except ImportError as error:
        raise SystemExit(f"this benchmark compares with lightly, which is not installed ({error}); pip install lightly==1.6.0") from None
    import torchvision

    torch.manual_seed(0)
    resnet = torchvision.models.resnet18()
    resnet.conv1, resnet.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    backbone = nn.Sequential(*list(resnet.children())[:-1], nn.Flatten())
    head = SimCLRProjectionHead(512, 2048, 128)
    model = nn.Sequential(backbone, head).train()
    criterion = NTXentLoss(temperature=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06)
    data = torchvision.datasets.ImageFolder(str(folder), SimCLRTransform(32, cj_strength=0.5, gaussian_blur=0.0))

    def turn(steps: int) -> float:
        chosen = torch.utils.data.Subset(data, torch.randperm(len(data))[: steps * batch].tolist())
        loader = torch.utils.data.DataLoader(chosen, batch_size=batch, shuffle=True, drop_last=True, num_workers=2)
        start = time.perf_counter()
        for (v, w), _ in loader:
            optimizer.zero_grad()
            loss = criterion(model(v), model(w))
            loss.backward()
            optimizer.step()
        return time.perf_counter() - start

    return turn


def measure(folder: Path, batch: int, steps: int, rounds: int) -> dict[str, float]:
    """Seconds a step, medians over rounds, and the two ratios."""
    files = open_data(str(pictures(folder, steps * batch)))
    policy = images.simclr(32)
    data = files.reduced(policy.pixels).in_channels(3)
    some = data.batch(np.arange(batch))
    views = policy(some, Counter(0, 0))
    turns: dict[str, Turn] = {
        "from files": ours(data, policy, data, batch),
        "kept": ours(data.keep(), policy, data, batch),
        "in memory": ours(InMemory(some), lambda samples, counter: views, data, batch),
        "lightly": theirs(Path(files.store.root), batch),  # type: ignore[attr-defined]
    }
    for turn in turns.values():
        turn(1)  # compiles, fills caches
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            seconds[name].append(turn(steps) / steps)
            print(f"{name}: {seconds[name][-1]:.3f} s a step", file=sys.stderr)
    table = {name: statistics.median(values) for name, values in seconds.items()}
    pairs = zip(seconds["from files"], seconds["lightly"], seconds["in memory"], strict=True)
    ratios = [(theirs / ours, ours / memory) for ours, theirs, memory in pairs]
    table["times lightly"] = statistics.median(a for a, _ in ratios)
    table["times the step in memory"] = statistics.median(b for _, b in ratios)
    return table


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="batch 16, one round of two steps: shows that it runs, measures little")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=6, help="a turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the table there as well")
    args = parser.parse_args(argv)
    if args.small:
        args.batch, args.steps, args.rounds = 16, 2, 1
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        with tempfile.TemporaryDirectory() as folder:
            table = measure(Path(folder), args.batch, args.steps, args.rounds)
    finally:
        torch.set_num_threads(before)
    print(f"SimCLR, ResNet-18 with a 3x3 stem, 32 pixels, batch {args.batch}, {args.threads} threads")
    for name in ("from files", "kept", "in memory", "lightly"):
        print(f"  {name:12s} {table[name]:8.3f} s a step {args.batch / table[name]:10,.0f} pictures/s")
    print(f"  from files: {table['times lightly']:.2f} times lightly's speed (goal: at least {GOALS['lightly']})")
    print(f"  from files: {table['times the step in memory']:.2f} times the step in memory (goal: at most {GOALS['in memory']})")
    if args.json:
        args.json.write_text(json.dumps({**table, "batch": args.batch, "threads": args.threads}, indent=2), encoding="utf-8")
    return table


if __name__ == "__main__":
    main()
