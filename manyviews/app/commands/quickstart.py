"""`manyviews quickstart`: the main job on the built-in data, in under three minutes on two cores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/quickstart, or the next free number)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=550, help="training steps of 64 pictures (default: 550)")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.evaluate import evaluate
    from manyviews.app.pretrain import pretrain

    print("manyviews quickstart: 24 objects, rendered under changing pose, light and background; which is which is not told")
    run = pretrain("builtin", "simclr", "resnet_micro", args.out or free(Path("runs/quickstart")), steps=args.steps, seed=args.seed, **RECIPE)
    print("\nHow often the test pictures' object is recognised, with 95 % intervals (chance is 0.042):")
    print(evaluate(run.path, "builtin", only=["knn"]))
    vectors = run.path / "vectors.parquet"
    run.embed("builtin", vectors)
    page = run.report()
    print(f"\nvectors   {vectors}\nreport    {page.resolve().as_uri()}")
    print(f"next      manyviews pretrain YOUR_PHOTOS; manyviews evaluate {run.path} LABELLED; manyviews neighbours {vectors} 7")


# SimCLR's own recipe is for long training with large batches; this one is for 550 steps of 64
RECIPE: dict[str, Any] = {"batch": 64, "optimizer": "adamw", "lr": 2e-3, "weight_decay": 1e-4, "views": "shuffled_colours", "temperature": 0.2}


def free(wanted: Path) -> Path:
    """The folder, or the same name with the next free number."""
    number, folder = 2, wanted
    while (folder / "run.json").exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder
