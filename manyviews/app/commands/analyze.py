"""`manyviews analyze NAME RUN [DATA]`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the analysis: projection_head")
    parser.add_argument("run", metavar="RUN", help="a run folder, with its last.ckpt")
    parser.add_argument(
        "data", metavar="DATA", nargs="?", help="labelled data: class folders, a list of files, arrays ... (default: what the run learned from)"
    )
    parser.add_argument(
        "--groups",
        default="group",
        metavar="COLUMN",
        help="the data's column of groups, as a list of files (.csv) with the first line path,label,COLUMN has one (default: group, if there)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split and the draws (default: 0)")
    parser.add_argument("--max-bad", type=float, default=0.2, help="the share of unreadable samples above which this is an error (default: 0.2)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the result to this JSON file; it goes to RUN/NAME.json anyway")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.analyze import analyze
    from manyviews.errors import InputError

    problems = [] if args.seed >= 0 else [f"--seed {args.seed}: must be at least 0"]
    if not 0 <= args.max_bad <= 1:
        problems.append(f"--max-bad {args.max_bad}: a share, from 0 to 1")
    if args.out and args.out.is_dir():
        problems.append(f"--out {args.out} is a folder; name a file in it, e.g. {args.out / 'analysis.json'}")
    if problems:
        raise InputError(*problems)
    found = analyze(args.name, args.run, args.data, args.groups, args.seed, max_bad=args.max_bad)
    if args.out:
        found.save(args.out)
    print(found)
