"""Views of pictures, beside lightly's transforms with the same sizes, chances and strengths.

    python benchmarks/views.py                 # a minute or two
    python benchmarks/views.py --small         # a few pictures, a few seconds

Photographs are scikit-image's, as JPEG files of 500 x 375 pixels, read and decoded by both sides; small pictures are arrays of 32 x 32. Both sides
have one thread and take turns; what is counted is processor time, so that other work on the machine matters little. Ours hands views over in
[0, 1] and leaves the normalisation to the encoder, theirs normalises; ours clamps once and turns hue about the grey axis (manyviews.views.images).
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.dataset import stack
from manyviews.data.images import decode
from manyviews.views import images

GOALS = {"SimCLR, two views of 224": 5.0, "SimCLR, two views of 32": 40.0}  # times as many pictures a second as lightly
Side = Callable[[int], None]  # makes the views of so many pictures


def photographs(folder: Path) -> list[Path]:
    """JPEG files of 500 x 375 pixels."""
    from skimage import data

    paths = []
    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        path = folder / f"{name}.jpg"
        Image.fromarray(getattr(data, name)()).convert("RGB").resize((500, 375)).save(path, quality=90)
        paths.append(path)
    return paths


def lightly_transforms() -> object:
    """The module lightly.transforms; ends the program with a sentence where lightly is missing."""
    from manyviews.nn import torchvision_schemas

    torchvision_schemas.declare()
    try:
        import lightly.transforms
    except ImportError as error:
        raise SystemExit(f"this benchmark compares with lightly, which is not installed ({error}); pip install lightly==1.6.0") from None
    return lightly.transforms


def ours(policy: images.Policy, read: Callable[[int], np.ndarray], batch: int) -> Side:
    """Samples read one by one, views made of a batch at once."""
    step = 0

    def run(count: int) -> None:
        nonlocal step
        for first in range(0, count, batch):
            index = torch.arange(first, min(first + batch, count))
            policy(View(stack([read(i) for i in index.tolist()]), index), Counter(0, step))
            step += 1

    return run


def theirs(transform: Callable, read: Callable[[int], Image.Image]) -> Side:
    """One sample after another, as their data sets do."""

    def run(count: int) -> None:
        for i in range(count):
            transform(read(i))

    return run


def contestants(folder: Path) -> dict[str, tuple[Side, Side, int, int]]:
    """Name -> ours, theirs, and how many pictures each is given a turn."""
    lightly = lightly_transforms()
    paths = photographs(folder)
    arrays = np.random.default_rng(0).integers(0, 256, (1024, 32, 32, 3), dtype=np.uint8)

    def our_file(pixels: int) -> Callable[[int], np.ndarray]:
        return lambda i: decode(paths[i % len(paths)].read_bytes(), pixels)

    def their_file(i: int) -> Image.Image:
        return Image.open(io.BytesIO(paths[i % len(paths)].read_bytes())).convert("RGB")

    large, small, crops = images.simclr(224), images.simclr(32), images.dino(224)
    return {
        "SimCLR, two views of 224": (
            ours(large, our_file(large.pixels), 64),
            theirs(lightly.SimCLRTransform(224), their_file),  # type: ignore[attr-defined]
            128,
            24,
        ),
        "SimCLR, two views of 32": (
            ours(small, lambda i: arrays[i % 1024], 256),
            theirs(
                lightly.SimCLRTransform(32, cj_strength=0.5, gaussian_blur=0.0),  # type: ignore[attr-defined]
                lambda i: Image.fromarray(arrays[i % 1024]),
            ),
            4096,
            256,
        ),
        "DINO, 2 views of 224 and 8 of 96": (
            ours(crops, our_file(crops.pixels), 64),
            theirs(lightly.DINOTransform(n_local_views=8), their_file),  # type: ignore[attr-defined]
            64,
            12,
        ),
    }


def rate(side: Side, count: int) -> float:
    """Pictures a second of processor time."""
    start = time.process_time()
    side(count)
    return count / (time.process_time() - start)


def measure(folder: Path, rounds: int, scale: float) -> dict[str, dict[str, float]]:
    """Name -> pictures a second of either side and their ratio, medians over rounds."""
    table = {}
    for name, (our, their, our_count, their_count) in contestants(folder).items():
        our_count, their_count = max(4, round(our_count * scale)), max(4, round(their_count * scale))
        our(our_count)  # compiles
        rates = [(rate(our, our_count), rate(their, their_count)) for _ in range(rounds)]
        table[name] = {
            "ours": statistics.median(a for a, _ in rates),
            "lightly": statistics.median(b for _, b in rates),
            "ratio": statistics.median(a / b for a, b in rates),
        }
        if name in GOALS:
            table[name]["goal"] = GOALS[name]
    return table


def main(argv: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a few pictures: shows that it runs, measures little")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the table there as well")
    args = parser.parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            table = measure(Path(folder), 1 if args.small else args.rounds, 0.1 if args.small else 1.0)
    finally:
        torch.set_num_threads(threads)
    print(f"{'pictures a second and core':34s} {'ours':>10s} {'lightly':>10s} {'ratio':>7s} {'goal':>6s}")
    for name, row in table.items():
        print(f"{name:34s} {row['ours']:10,.0f} {row['lightly']:10,.0f} {row['ratio']:7.1f} {row.get('goal', float('nan')):6.1f}".replace("   nan", ""))
    if args.json:
        args.json.write_text(json.dumps(table, indent=2), encoding="utf-8")
    return table


if __name__ == "__main__":
    main()
