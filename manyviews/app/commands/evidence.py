"""`manyviews evidence`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="only say whether CATALOGUE.md and docs/ are what the source and the results give")


def run(args: argparse.Namespace) -> None:
    from manyviews.app import pages
    from manyviews.app.catalogue import methods, systems
    from manyviews.app.evidence.files import claims_folder

    claims_folder()
    status = pages.main(["--check"] if args.check else [])
    if status:
        raise SystemExit(status)
    width = max(map(len, systems()))
    for name, entry in systems().items():
        checked = f"{len(entry.tests)} test file{'s' * (len(entry.tests) != 1)}" + (", two processes" if name in methods() else "")
        print(f"{name.ljust(width)}  {checked.ljust(29)}  {pages.verdict(pages.result_of(entry))}")
    print("CATALOGUE.md and docs/ are up to date; `make docs` builds the site, `manyviews claim NAME` measures")
