"""`manyviews pretrain DATA`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", nargs="?", help="a folder, a file, builtin, ...: see `manyviews data`")
    parser.add_argument("--method", default="")
    parser.add_argument("--encoder", default="")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--lr", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="hyperparameters of the method: see `manyviews show METHOD`")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.pretrain import Options, start

    settings = dict(text.split("=", 1) for text in args.set)
    fields = ("method", "encoder", "epochs", "steps", "batch", "size", "lr", "seed")
    start(Options(args.data, settings=settings, **{name: getattr(args, name) for name in fields}), args.out)
