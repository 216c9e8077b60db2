"""`manyviews data [SOURCE]`: the kinds of data there are, or what one holds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyviews.data.dataset import Data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="a folder, a file, a name; without it, the kinds there are")
    parser.add_argument(
        "--as", dest="modality", help="what the samples are, where it is not seen from the files: images, points, renders, volumes, video, pairs, tables"
    )
    parser.add_argument(
        "--write", metavar="FOLDER", help="write the pictures of renders:...,look=3diebench there, with what they were made from, as 3DIEBench has it"
    )
    parser.add_argument("--sample", type=int, default=256, help="how many samples to read (default: 256)")


def run(args: argparse.Namespace) -> None:
    from manyviews.data.kinds import KINDS

    if args.source is None:
        width = max(map(len, KINDS))
        print("\n".join(f"{kind.ljust(width)}  {example}" for kind, example in KINDS.items()))
        return
    from manyviews.data.opening import open_data

    data = open_data(args.source, args.modality)
    print(described(data, args.sample))
    if args.write:
        from manyviews.data.diebench import write

        write(data, args.write)
        print(f"written     {args.write}: {len(data):,} pictures; open it as any data, or as 3diebench:{args.write}")


AXES = {
    "points": "points x channels",
    "splats": "splats x columns",
    "volumes": "depth x height x width x channels",
    "video": "time x height x width x channels",
}


def columns_of(data: Data) -> list[str]:
    """What is known of the columns of a table."""
    return [f"{c['name']}: {c['kind']}" for c in data.form.get("columns", [])[:50] if isinstance(c, dict) and "kind" in c]


def described(data: Data, count: int) -> str:
    """What a person wants to know before training: `count` samples are read for it."""
    import numpy as np

    samples = data.look(max(1, count))
    looked = min(len(data), max(1, count))
    lines = [data.describe(), f"modality    {data.modality}"]
    if data.modality == "images":
        sides = np.array([a.shape[:2] for a in samples]) if samples else np.zeros((1, 2), int)
        low, middle, high = (sides[np.argsort(sides.prod(1))][k] for k in (0, len(sides) // 2, -1))
        size = f"{low[1]} x {low[0]}" if (low == high).all() else f"{low[1]} x {low[0]} to {high[1]} x {high[0]}, the middle one {middle[1]} x {middle[0]}"
        lines.append(f"size        {size} pixels (width x height, {looked:,} looked at)")
        lines.append(f"channels    {data.channels}, {data.bits} bits")
    else:
        shapes = sorted({np.shape(getattr(a, "x", a)) for a in samples}, key=lambda shape: (np.prod(shape), shape))
        size = " to ".join(" x ".join(map(str, shape)) for shape in dict.fromkeys([shapes[0], shapes[-1]])) if shapes else "nothing"
        lines.append(f"size        {size} ({AXES.get(data.modality, 'numbers')}; {looked:,} looked at)")
        lines += [f"column      {line}" for line in columns_of(data)]
    if data.labels is None:
        lines.append("classes     none: no labels")
    else:
        counts = np.bincount(data.labels[data.labels >= 0], minlength=len(data.classes))
        shown = [f"{name} {n:,}" for name, n in zip(data.classes, counts.tolist(), strict=True)]
        more = f", ... (the smallest has {counts.min():,}, the largest {counts.max():,})" if len(shown) > 20 else ""
        lines.append(f"classes     {len(shown):,}: {', '.join(shown[:20])}{more}")
        if (data.labels < 0).any():
            lines.append(f"unlabelled  {int((data.labels < 0).sum()):,}")
    split = data.columns.get("split")
    counted = {} if split is None else {s: int((split == s).sum()) for s in ("train", "validation", "test")}
    lines.append("split       " + (" + ".join(f"{n:,} {s}" for s, n in counted.items() if n) or "none: evaluation holds out a seeded fifth"))
    lines.append(f"unreadable  {len(data.bad):,} of {int(np.count_nonzero(data.seen)) if data.seen is not None else 0:,} looked at")
    lines += [f"  {data.store.name(row)}: {why}" for row, why in sorted(data.bad.items())[:20]]
    return "\n".join(lines)
