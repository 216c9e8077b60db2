"""`manyviews derive NAME TARGET [--from OPENSET] [--using RUN] --out FILE`: data that a system chose or made, to pretrain on.

A deriving system is a function of its file's name in manyviews/data/NAME.py or views/NAME.py (or one of manyviews/data/derive.py) whose first argument
is the target set. It may ask for an `open_set` (--from), and (--using) for `embed`, a function from data to embeddings, or for the `encoder` itself. It
returns rows of the open set, which are listed behind the target's, or columns of the target, of which `duplicate_of` leaves all but the first of equal
samples out. What an `encoder` makes are columns of pictures: they go, with the pictures they belong to, into an .npz, and what the file's `summary` says of
them is shown. Of data with a split only training rows are used.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyviews.app.catalogue import Entry
    from manyviews.data.dataset import Data

OWN = ("target", "data", "open_set", "embed", "encoder", "size", "folder", "device", "threads")  # arguments that the command line fills in


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what derives: simcore, duplicates, ...")
    parser.add_argument("target", metavar="TARGET", help="the data set it is for: see `manyviews data`")
    parser.add_argument("--from", dest="source", metavar="OPENSET", help="a larger data set to choose from")
    parser.add_argument("--using", metavar="RUN", help="what embeds samples: a run folder, timm:NAME, untrained:NAME or a .safetensors file")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the list to write, with path, label and from (default: NAME.csv), or the .npz of pictures")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="hyperparameters of what derives")
    parser.add_argument("--workers", type=int, default=0, help="threads that decode (default: one a core)")


def run(args: argparse.Namespace) -> None:
    from manyviews.app.options import training_rows
    from manyviews.app.settings import parse_settings
    from manyviews.data.opening import open_data
    from manyviews.errors import InputError

    entry = find(args.name)
    made = "encoder" in entry.types  # pictures, not a choice of some
    endings = (".npz",) if made else (".csv", ".tsv")
    out = args.out or Path(f"{args.name}{endings[0]}")
    pairs = [text.partition("=") for text in args.set]
    problems = [f"--set {name}: expected NAME=VALUE" for name, equals, _ in pairs if not equals]
    settings, wrong = parse_settings(entry, {name: value for name, equals, value in pairs if equals})
    problems += wrong
    for flag, argument, given in (("--from OPENSET", "open_set", args.source), ("--using RUN", "encoder" if made else "embed", args.using)):
        if (argument in entry.types) != (given is not None):
            problems.append(f"{args.name} {'needs' if given is None else 'has no use for'} {flag}")
    if out.suffix.lower() not in endings or out.is_dir():
        problems.append(f"--out {out}: name a {' or '.join(endings)} file")
    if args.workers < 0:
        problems.append(f"--workers {args.workers}: must be at least 0")
    if problems:
        raise InputError(*problems)
    target = training_rows(open_data(args.target))
    if made:
        make(entry, target, args.using, args.workers, settings, out)
        return
    listable(target)
    parts: dict[str, Data] = {"target": target}
    filled: dict[str, Any] = {}
    if args.source is not None:
        filled["open_set"] = training_rows(open_data(args.source))
        listable(filled["open_set"])
    if args.using is not None:
        filled["embed"] = embedder(args.using, args.workers)
    found = function_of(entry)(target, **filled, **settings)
    if isinstance(found, dict):
        parts["target"] = first_of_equals(target, found)
    elif "open_set" in filled:
        parts["openset"] = filled["open_set"].select(found)
    else:
        parts["target"] = target.select(found)
    write(out, parts)
    named = {"target": args.target, "openset": args.source}
    print(f"{out}: " + " + ".join(f"{len(part):,} of {named[name]}" for name, part in parts.items()))


def make(entry: Entry, target: Data, reference: str, workers: int, settings: dict[str, Any], out: Path) -> None:
    """An .npz with `x` (centred squares of the model's size), `y` where there are labels, and the columns that the system makes of them."""
    import importlib
    import os

    import numpy as np
    import torch

    from manyviews.app.model import load
    from manyviews.contracts import View
    from manyviews.counters import Counter
    from manyviews.data.derive import new_file
    from manyviews.errors import InputError

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, threads = load(reference, device=device), workers or os.cpu_count() or 1
    target = target.in_channels(model.channels).reduced(max(target.pixels, model.policy.pixels))

    def squares(samples: View) -> np.ndarray:
        x = model.policy(samples, Counter(0, 0))["v"].x  # type: ignore[union-attr]
        return (x * 255).round().byte().permute(0, 2, 3, 1).numpy()

    order = np.array_split(np.arange(len(target)), -(-len(target) // 256))
    batches = [(squares(samples), samples.index.numpy()) for samples in target.batches(order, threads) if len(samples)]
    if not batches:
        raise InputError(f"no sample of {target.store.describe()} can be read")
    x, rows = (np.concatenate([batch[k] for batch in batches]) for k in (0, 1))
    columns = function_of(entry)(target.select(rows), model.encoder, size=model.size, device=device, threads=threads, **settings)
    y = {} if target.labels is None else {"y": np.array([target.classes[k] if k >= 0 else "" for k in target.labels[rows]])}
    with new_file(out.absolute()) as temporary, open(temporary, "wb") as file:
        np.savez(file, x=x, **y, **columns)  # type: ignore[arg-type]
    print(f"{out}: {len(x):,} pictures with {', '.join(columns)}")
    summary = getattr(importlib.import_module(entry.module), "summary", None)
    if summary and (said := summary(columns)):
        print(said)


# --- what derives -----------------------------------------------------------------------------------------------------------------------------


def deriving() -> dict[str, Entry]:
    """Everything that derives, by name; read from the source, without importing it."""
    import ast

    from manyviews.app.catalogue import PACKAGE, Entry
    from manyviews.app.source import arguments, defaults, parse, types

    found = {}
    for path in sorted([*(PACKAGE / "data").glob("*.py"), *(PACKAGE / "views").glob("*.py")]):
        tree = parse(path)
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or not arguments(node):
                continue
            own = node.name == path.stem and arguments(node)[0][0].arg == "target"
            columns = path.stem == "derive" and [a.arg for a, _ in arguments(node)] == ["data"] and "dict" in ast.unparse(node.returns or node.args)
            if own or columns:
                parameters = {name: value for name, value in defaults(node).items() if name not in OWN}
                where = path.relative_to(PACKAGE).as_posix()
                found[node.name] = Entry(node.name, "data", where, node.name, ast.get_docstring(tree) or "", parameters, types(node))
    return found


def find(name: str) -> Entry:
    """Raises InputError with the nearest names."""
    from manyviews.app.options import near
    from manyviews.errors import InputError

    known = deriving()
    if name not in known:
        raise InputError(f"nothing derives under the name {name!r}{near(name, known)}; there are {', '.join(known)}")
    return known[name]


def function_of(entry: Entry) -> Any:
    import importlib

    return getattr(importlib.import_module(entry.module), entry.definition)


def embedder(reference: str, workers: int) -> Any:
    """Data -> embeddings (rows, dim) of this model; zeros where a sample cannot be read."""
    import os

    import torch

    from manyviews.app.model import load
    from manyviews.app.preparing import Tools

    model = load(reference, device="cuda" if torch.cuda.is_available() else "cpu")
    tools = Tools(model.size, model.device, workers or os.cpu_count() or 1)

    def embed(data: Data) -> Any:
        return tools.embed(model.encoder, data.in_channels(model.channels).reduced(max(data.pixels, model.policy.pixels)))

    return embed


# --- the list ---------------------------------------------------------------------------------------------------------------------------------


def listable(data: Data) -> None:
    """Raises InputError where the samples are no files of their own."""
    from manyviews.data.folder import Files
    from manyviews.errors import InputError

    if not isinstance(data.store, Files):
        raise InputError(f"{data.store.describe()} has no files that a list could name; unpack it into a folder, or call the function from Python")


def first_of_equals(data: Data, columns: dict[str, Any]) -> Data:
    """The data with the columns, without the copies that they tell of."""
    import numpy as np

    data = data.with_columns(**columns)
    return data.select(np.flatnonzero(columns["duplicate_of"] == np.arange(len(data)))) if "duplicate_of" in columns else data


def write(out: Path, parts: dict[str, Data]) -> None:
    """Absolute paths, the target's labels (the open set's may mean other classes), and the part that each is from; written whole or not at all."""
    import csv
    import os

    from manyviews.data.derive import new_file

    with new_file(out) as temporary, open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        lines = csv.writer(file, delimiter="\t" if out.suffix.lower() == ".tsv" else ",", lineterminator="\n")
        lines.writerow(["path", "label", "from"])
        for name, part in parts.items():
            store: Any = part.store
            for i in range(len(part)):
                path = os.path.abspath(os.path.join(store.prefix, store.paths[part.row(i)].as_py()))
                known = name == "target" and part.labels is not None and part.labels[i] >= 0
                lines.writerow([os.fsdecode(path), part.classes[int(part.labels[i])] if known and part.labels is not None else "", name])
