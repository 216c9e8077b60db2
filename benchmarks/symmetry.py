"""What measuring symmetry costs beside the encoder's own work: a ViT-S/16 on 100 pictures of 224 pixels, five transformations, nine strengths.

    python benchmarks/symmetry.py                  # about ten minutes on one core
    python benchmarks/symmetry.py --small          # resnet_nano on pictures of 32 pixels, seconds

All of `manyviews evaluate ... --only symmetry`, without the Lie norm, in one run, in processor time: that within the encoder, and the rest, which is
transforming pictures, fitting and scoring. Goal: all of it at most 1.1 times the encoder's passes. `--pictures 20` takes fewer; the fits cost the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from manyviews.app.symmetry import BATCH, SAMPLES, STRENGTHS, TRANSFORMATIONS, symmetry
from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.builtin import builtin
from manyviews.views.images import plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="a small encoder, seconds")
    parser.add_argument("--pictures", type=int, default=SAMPLES)
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    name, size = ("resnet_nano", 32) if args.small else ("vit_small", 224)
    encoder, data, spent = build_encoder(name, 3, size, seed=0).eval(), builtin(), [0.0]

    def timed(view: View) -> torch.Tensor:
        began = time.process_time()
        z = encoder(view)
        spent[0] += time.process_time() - began
        return z

    def views() -> Iterator[View]:
        for part in np.array_split(np.arange(args.pictures), -(-args.pictures // BATCH)):
            yield plain(size)(data.batch(part), Counter(0, 0))["v"]

    next(views())  # kernels are compiled, files opened
    began = time.process_time()
    symmetry(timed, views, "images")
    whole = time.process_time() - began
    found = {"encoder": name, "pictures": args.pictures, "passes": spent[0], "whole": whole, "ratio": whole / spent[0], "goal": 1.1}
    print(f"{name}, {size} pixels, {args.pictures} pictures x {len(TRANSFORMATIONS['images'])} transformations x {len(STRENGTHS)} strengths, one thread")
    print(f"within the encoder {spent[0]:.1f} s, all {whole:.1f} s: ratio {whole / spent[0]:.2f} (goal 1.1)")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
