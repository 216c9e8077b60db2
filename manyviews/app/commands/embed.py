"""`manyviews embed RUN DATA`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, timm:NAME, untrained:NAME or a .safetensors file")
    parser.add_argument("data", metavar="DATA", help="a folder, a file, builtin, ...: see `manyviews data`")
    parser.add_argument("--out", type=Path, default=Path("vectors.parquet"), help="the file to write (default: vectors.parquet)")
    parser.add_argument("--batch", type=int, default=256, help="pictures at a time (default: 256)")
    parser.add_argument("--workers", type=int, default=0, help="threads that decode (default: one a core)")
    parser.add_argument("--max-bad", type=float, default=0.2, help="the share of unreadable samples above which this is an error (default: 0.2)")


def run(args: argparse.Namespace) -> None:
    import os

    from manyviews.app.embed import embed
    from manyviews.errors import InputError

    problems = [f"--{name} {getattr(args, name)}: must be at least {least}" for name, least in (("batch", 1), ("workers", 0)) if getattr(args, name) < least]
    if not 0 <= args.max_bad <= 1:
        problems.append(f"--max-bad {args.max_bad}: a share, from 0 to 1")
    if args.out.is_dir():
        problems.append(f"--out {args.out} is a folder; name a file in it, e.g. {args.out / 'vectors.parquet'}")
    if problems:
        raise InputError(*problems)
    vectors = embed(args.run, args.data, args.out, batch=args.batch, threads=args.workers or os.cpu_count() or 1, max_bad=args.max_bad)
    print(f"{args.out}: {len(vectors):,} vectors of {vectors.metadata['dim']} numbers, encoder {vectors.metadata['hash']}")
    if vectors.skipped:
        print(f"{vectors.skipped:,} samples could not be read; {vectors.quarantine} says why")
