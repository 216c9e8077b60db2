"""`manyviews evaluate RUN [DATA]`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, timm:NAME, untrained:NAME or a .safetensors file")
    parser.add_argument("data", metavar="DATA", help="labelled data: class folders, arrays with labels, builtin, ...")
    parser.add_argument("--only", nargs="+", help="which measurements (default: all)")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.evaluate import evaluate

    print(evaluate(args.run, args.data, args.only).table())
