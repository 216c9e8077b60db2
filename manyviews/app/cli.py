"""The command line. Each verb lives in a module of its own, imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import sys

VERBS = {  # each is manyviews/app/commands/VERB.py, with add_arguments(parser) and run(args)
    "quickstart": "pretrain, evaluate, embed and report on the built-in data, in three minutes",
    "pretrain": "learn an encoder from unlabelled data; makes a run folder",
    "evaluate": "score a model on labelled data, beside the untrained encoder and the raw input",
    "embed": "write one vector a sample to a Parquet file",
    "neighbours": "the nearest samples of a vector file to a picture",
    "report": "one self-contained HTML page about a run",
    "export": "write the encoder as onnx, torchscript, safetensors or timm",
    "methods": "list the ways to pretrain",
    "encoders": "list the encoders",
    "data": "list the kinds of data, or say what a folder or file holds",
    "show": "everything about one method or encoder: hyperparameters, defaults, paper, evidence",
}


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="manyviews", description="Representations without labels: learn them, measure them, use them.")
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for verb, summary in VERBS.items():
        sub = verbs.add_parser(verb, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if argv and argv[0] == verb:
            importlib.import_module(f"manyviews.app.commands.{verb}").add_arguments(sub)
    args = parser.parse_args(argv)
    if args.version:
        from importlib.metadata import version

        print(version("manyviews"))
        return 0
    if not args.verb:
        parser.print_help()
        return 2
    return run(args)


def run(args: argparse.Namespace) -> int:
    from manyviews.errors import InputError

    try:
        importlib.import_module(f"manyviews.app.commands.{args.verb}").run(args)
    except InputError as error:
        for problem in error.problems:
            print(f"manyviews {args.verb}: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    return 0
