"""`manyviews export RUN --to FORMAT`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, timm:NAME, untrained:NAME or a .safetensors file")
    parser.add_argument("--to", required=True, metavar="FORMAT", help="onnx, torchscript, safetensors or timm")
    parser.add_argument("--out", type=Path, help="the file (for timm: the folder) to write; default: export/ in the run")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.export import export

    export(args.run, args.to, args.out, say=print)
