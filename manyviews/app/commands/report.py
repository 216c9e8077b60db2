"""`manyviews report RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder; or timm:NAME, untrained:NAME or a .safetensors file, with --data")
    parser.add_argument("--out", type=Path, help="the page to write (default: report.html in the run's folder)")
    parser.add_argument("--data", metavar="DATA", help="show this and, where it has labels, score knn and a linear probe on it (default: the training data)")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.report import report

    print(report(args.run, args.out, args.data))
