"""`manyviews quickstart`: the main job on the built-in data, in under three minutes on two cores."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/quickstart, or another where that exists)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=500, help="training steps of 256 pictures (default: 500)")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.pretrain import pretrain

    out = args.out or free(Path("runs/quickstart"))
    run = pretrain(
        "builtin", "simclr", "resnet_micro", out, steps=args.steps, batch=256, seed=args.seed, optimizer="adamw", lr=2e-3, weight_decay=1e-4, views="shuffled_colours", temperature=0.2
    )
    print(run.evaluate().table())


def free(wanted: Path) -> Path:
    """The folder, or the same name with the next free number."""
    number, folder = 2, wanted
    while (folder / "run.json").exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder


