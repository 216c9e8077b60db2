"""`manyviews encoders [PATTERN]`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", default="", help="part of a name, or a pattern such as 'vit_*_224'; * for all")


def run(args: argparse.Namespace) -> None:
    from fnmatch import fnmatch

    from manyviews.app.catalogue import small_encoders, timm_encoders
    from manyviews.errors import InputError

    pattern = args.pattern if "*" in args.pattern else f"*{args.pattern}*"
    small = [encoder for encoder in small_encoders() if fnmatch(encoder.name, pattern)]
    width = max((len(encoder.name) for encoder in small), default=0)
    for encoder in small:
        print(f"{encoder.name.ljust(width)}  {encoder.sentence}")
    if not args.pattern:
        print("and every timm model by its name: `manyviews encoders PATTERN`, for example `manyviews encoders 'vit_small*'`; `manyviews show NAME` says more")
        return
    large = timm_encoders(args.pattern)
    if not small and not large:
        raise InputError(f"no encoder fits {args.pattern!r}; try a part of a name, such as resnet, vit or convnext")
    for name in large:
        print(name)
    print(f"{len(small) + len(large)} encoders")
