"""`manyviews evaluate RUN [DATA]`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, timm:NAME, untrained:NAME or a .safetensors file")
    parser.add_argument(
        "data", metavar="DATA", nargs="?", help="labelled data: class folders, arrays with labels, builtin, ... (default: what the run learned from)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="some of knn, linear, few_shot, retrieval, label_fraction, robustness (of images), svm, svm_few_shot (of points), segmentation (of points "
        "with parts, volumes and pictures with label maps), boosted_trees (of tables), zero_shot, recall (of pairs), prompt_patch (where segmentation is), "
        "linear_sgd, symmetry, symmetry_levels (of the encoder), lie_norm (default: what the data allows, but the last five)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split, the draws and the intervals (default: 0)")
    parser.add_argument("--size", type=int, help="side of the pictures in pixels (default: the model's own)")
    parser.add_argument("--precision", default="32", help="of the encoder and of large products: 32 or bf16 (default: 32)")
    parser.add_argument("--max-bad", type=float, default=0.2, help="the share of unreadable samples above which this is an error (default: 0.2)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the scores to this JSON file; a run's go to RUN/evaluation.json anyway")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.evaluate import evaluate
    from manyviews.errors import InputError

    problems = [
        f"--{name} {value}: must be at least {least}"
        for name, value, least in (("size", args.size, 8), ("seed", args.seed, 0))
        if value is not None and value < least
    ]
    if not 0 <= args.max_bad <= 1:
        problems.append(f"--max-bad {args.max_bad}: a share, from 0 to 1")
    if args.out and args.out.is_dir():
        problems.append(f"--out {args.out} is a folder; name a file in it, e.g. {args.out / 'evaluation.json'}")
    if problems:
        raise InputError(*problems)
    found = evaluate(args.run, args.data, args.only, seed=args.seed, size=args.size, precision=args.precision, max_bad=args.max_bad)
    if args.out:
        found.save(args.out)
    print(found)
