"""`manyviews show NAME`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a method, an encoder or a group")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.showing import show

    print(show(args.name))
