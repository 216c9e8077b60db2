"""`manyviews claim NAME ...`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="of a system with a file in claims/; none: list them")
    parser.add_argument("--all", action="store_true", help="every claim")
    parser.add_argument("--stale", action="store_true", help="only those without a result, or whose code or data changed since")
    parser.add_argument("--seeds", type=int, help="how many (default: what the claim says); more are added to those there are")
    parser.add_argument("--budget", choices=("small", "full"), default="small", help="small: minutes on two cores; full: the paper's schedule")
    parser.add_argument("--minutes", type=float, help="begin nothing new after so many; run again to go on")
    parser.add_argument("--jobs", type=int, default=0, help="arms at a time (default: as many as there are cores, or 1 on a GPU)")
    parser.add_argument("--show", action="store_true", help="show the results there are, without running anything")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.evidence.claim import load_claim
    from manyviews.app.evidence.files import names
    from manyviews.app.evidence.running import is_stale, prune, run_claims
    from manyviews.app.evidence.said import result_table
    from manyviews.app.evidence.store import read_result
    from manyviews.app.evidence.verdicts import NOT_RUN
    from manyviews.errors import InputError

    if args.seeds is not None and args.seeds < 2:
        raise InputError(f"--seeds {args.seeds}: an interval needs at least 2")
    budget = args.budget
    chosen = names() if args.all else args.names
    for name in chosen:
        load_claim(name)
    if args.all and budget == "full":
        chosen = [name for name in chosen if load_claim(name).full]
    if args.stale:  # and what could not be run: its data may be there now
        chosen = [name for name in (chosen or names()) if is_stale(name, budget) or (read_result(name, budget) or {}).get("verdict") == NOT_RUN]
        if not chosen:
            print("no result is stale")
            return
    if not chosen:
        for name in names():
            result = read_result(name, budget)
            print(f"{name:24} {'stale: ' if result and is_stale(name, budget) else ''}{result['verdict'] if result else 'not run yet'}")
        return
    done = True
    if not args.show:
        done = run_claims(chosen, args.seeds, budget, args.minutes, args.jobs)
    if args.all:
        prune()
    for name in chosen:
        result = read_result(name, budget)
        print("\n" + result_table(result) if result else f"\n{name}: not finished; run it again to go on")
    if not done:
        raise SystemExit(1)
