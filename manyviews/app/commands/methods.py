"""`manyviews methods`."""

from __future__ import annotations

import argparse
import dataclasses
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="everything about each, for programs")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.catalogue import methods

    found = methods()
    if args.json:
        print(json.dumps([{**dataclasses.asdict(entry), "sentence": entry.sentence, "arxiv": entry.arxiv} for entry in found.values()], indent=2))
        return
    width = max(map(len, found))
    for name, entry in found.items():
        needs = f" (needs {', '.join(entry.given)})" if entry.given else ""
        print(f"{name.ljust(width)}  {entry.sentence.partition(': ')[2] or entry.sentence}{needs}")
    print(f"{len(found)} methods; `manyviews show NAME` has hyperparameters, paper and evidence")
