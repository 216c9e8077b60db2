"""`manyviews neighbours VECTORS PHOTO`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vectors", metavar="VECTORS", type=Path, help="a file that `manyviews embed` wrote")
    parser.add_argument("photo", metavar="PHOTO", help="a picture file, or the path of a sample of the vector file (of builtin: its row number)")
    parser.add_argument("--k", type=int, default=12, help="how many (default: 12)")
    parser.add_argument("--out", type=Path, help="the contact sheet, a PNG (default: neighbours.png beside VECTORS)")
    parser.add_argument("--run", help="where the run that made the vectors is now, if it was moved")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.neighbours import neighbours

    found = neighbours(args.vectors, args.photo, args.k, args.run)
    print(found.table())
    sheet = found.sheet(args.out or args.vectors.with_name("neighbours.png"))
    print(f"contact sheet: {sheet}" + (f"; {found.missing}, they are grey" if found.missing else ""))
