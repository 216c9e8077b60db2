"""`manyviews pretrain DATA`, `manyviews pretrain --resume RUN`, `manyviews pretrain --from run.json`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from manyviews.app.options import FIELDS, flag, from_texts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", nargs="?", help="a folder, a file, builtin, ...: see `manyviews data`")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the run's folder (default: runs/METHOD-TIME)")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder from its last checkpoint; other options stay as they were")
    parser.add_argument("--from", dest="source", type=Path, metavar="RUN.JSON", help="repeat this run, with the changes that other options say")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="hyperparameters of the method: see `manyviews show METHOD`"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    for name, field in FIELDS.items():
        if field.type == "bool":
            parser.add_argument(flag(name), dest=name, action="store_true", default=None, help=field.metadata["help"])
        else:  # as text: wrong numbers are told together with everything else that is wrong
            parser.add_argument(flag(name), dest=name, metavar=name.upper(), help=field.metadata["help"])


def run(args: argparse.Namespace) -> None:
    from manyviews.train.fit import Diverged

    given = {name: getattr(args, name) for name in FIELDS if getattr(args, name) is not None}
    values, problems = from_texts(given)
    problems += args.problems
    pairs = [text.partition("=") for text in args.set]
    problems += [f"--set {name}: expected NAME=VALUE" for name, equals, _ in pairs if not equals]
    if pairs:
        values["settings"] = {name: value for name, equals, value in pairs if equals}
    try:
        act(args, values, problems)
    except Diverged as error:
        print(f"manyviews pretrain: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def act(args: argparse.Namespace, values: dict[str, Any], problems: list[str]) -> None:
    """One of the three: continue, repeat, start."""
    from manyviews.app import pretrain
    from manyviews.app.options import Options
    from manyviews.errors import InputError

    if args.resume:
        asked = [flag(name) for name in values if name in FIELDS] + ["--set"] * bool(args.set) + ["--from"] * bool(args.source) + ["DATA"] * bool(args.data)
        if asked or args.out or problems:
            raise InputError(
                *problems, f"--resume takes a run as it is, without {', '.join([*asked, *['--out'] * bool(args.out)])}; --from RUN makes a changed one"
            )
        pretrain.carry_on(args.resume, quiet=args.quiet)
    elif args.source:
        pretrain.repeat(args.source, {**values, **({"data": args.data} if args.data else {})}, args.out, quiet=args.quiet, problems=problems)
    else:
        pretrain.start(Options(**{"data": args.data or "", **values}), args.out, quiet=args.quiet, problems=problems)
