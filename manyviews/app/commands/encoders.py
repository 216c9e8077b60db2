"""`manyviews encoders [PATTERN]`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", default="", help="part of a name, or a pattern such as 'vit_*_224'; * for all")


def run(args: argparse.Namespace) -> None:
    from fnmatch import fnmatch

    from manyviews.app.catalogue import built_encoders, small_encoders, timm_encoders
    from manyviews.errors import InputError

    pattern = args.pattern if "*" in args.pattern else f"*{args.pattern}*"
    small = [encoder for encoder in (*small_encoders(), *built_encoders()) if fnmatch(encoder.name, pattern)]
    width = max((len(encoder.name) for encoder in small), default=0)
    takes = ""
    for encoder in small:
        if encoder.takes != takes:
            print(f"of {(takes := encoder.takes)}:")
        print(f"  {encoder.name.ljust(width)}  {encoder.sentence}")
    if not args.pattern:
        print("and every timm model of images (`manyviews encoders 'vit_small*'`), of text hf:NAME, of pairs IMAGE+TEXT; `manyviews show NAME` says more")
        return
    large = timm_encoders(args.pattern)
    if not small and not large:
        raise InputError(f"no encoder fits {args.pattern!r}; try a part of a name, such as resnet, vit or convnext")
    for name in large:
        print(name)
    print(f"{len(small) + len(large)} encoders")
