"""`manyviews analyze`: a look inside a run by one of the analyses of `manyviews.analyze`, beside the untrained network and the raw input.

An analysis is a file of that folder with a function of its own name, whose parameters say what it is given: `train` and `test` (the encoder's features
with labels), `head` (the run's projector), `train_groups` and `test_groups` (the rows' groups, where the data has that column) and `seed`.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from manyviews.app.catalogue import PACKAGE
from manyviews.app.evaluate import RAW, Evaluation, said
from manyviews.app.model import load
from manyviews.app.options import GIVEN, resolve
from manyviews.app.run import Run
from manyviews.app.source import parse
from manyviews.app.training import assemble
from manyviews.contracts import Method, View
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.data.splits import split
from manyviews.errors import InputError
from manyviews.evaluate.features import extract
from manyviews.evaluate.scores import Labelled
from manyviews.train.checkpoint import load_checkpoint
from manyviews.views.finding import plain, raw

PROVIDED = ("train", "test", "head", "train_groups", "test_groups", "seed")


def analyze(
    name: str, run: str | Path | Run, data: Any = None, groups: str = "group", seed: int = 0, quiet: bool = False, max_bad: float = 0.2, save: bool = True
) -> Evaluation:
    """What the analysis `name` finds in the last weights of a run, in those it began with, and, where that makes sense, in the raw input.

    data: labelled; by default the run's own. groups: the column that says which group a row belongs to, by its number (a negative one: not known) or its
    text; it may be missing only where it is called `group`. The result is written to RUN/NAME.json too, but
    for `save=False`. Raises InputError.
    """
    function = find_analysis(name)
    run = run if isinstance(run, Run) else Run(run)
    data = dataclasses.replace(chosen(run, data), max_bad=max_bad)
    if data.labels is None:
        raise InputError(f"{name} probes features with labels, and {data.describe()} has none; put each class into a folder of its own")
    if groups != "group" or groups in data.columns:
        check_groups(data, groups)
    trained, step = last(run, data)
    parts = split(data, seed)
    device, size = "cuda" if torch.cuda.is_available() else "cpu", run.options.size or 32
    networks: dict[str, Method | None] = {"trained": trained, "untrained": beginning(run, data), "raw input": None}
    kept = [part.in_channels(run.options.channels or 3).reduced(max(part.pixels, plain(size, part.modality).pixels)).keep() for part in parts]
    scores = {}
    for who, network in networks.items():
        with said(who, quiet) as say:
            say(f"embedding {sum(map(len, parts)):,}")
            encoder = raw(data.modality) if network is None else network.to(device).eval().encoder
            side = min(size, RAW) if network is None else size
            seen = [see(encoder, part, side, device, groups) for part in kept]
            head = None if network is None else network.cpu().projector
            known = {"train": seen[0][0], "test": seen[1][0], "train_groups": seen[0][1], "test_groups": seen[1][1], "head": head, "seed": seed}
            say(name)
            scores[who] = function(**{word: value for word, value in known.items() if word in inspect.signature(function).parameters})
    about = {"analysis": name, "run": run.path.name, "step": step, "fingerprint": data.fingerprint(), "seed": seed}
    found = Evaluation("; ".join([data.describe(), parts[0].said, f"the weights of step {step:,}"]), scores, about)
    if save:
        found.save(run.path / f"{name}.json")
    return found


def check_groups(data: Data, name: str) -> None:
    """Raises InputError where no column has that name, or it has several numbers a row."""
    fitting = [word for word, column in data.columns.items() if column.ndim == 1]
    if name not in fitting:
        near = difflib.get_close_matches(name, fitting, 1, 0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"--groups {name}: {data.describe()} has no such column of groups; {hint}There is {', '.join(fitting) or 'none'}")


def analyses() -> list[str]:
    """The files of `manyviews.analyze` with a function of their own name that asks for what there is; read without importing them."""
    found = []
    for path in sorted((PACKAGE / "analyze").glob("[!_]*.py")):
        for node in parse(path).body:
            if isinstance(node, ast.FunctionDef) and node.name == path.stem and ast.get_docstring(node):
                needs = [a.arg for a in node.args.args[: len(node.args.args) - len(node.args.defaults)]]
                found += [path.stem] if {*needs} <= {*PROVIDED} else []
    return found


def find_analysis(name: str) -> Callable[..., Any]:
    """The function of that name. Raises InputError with the nearest."""
    wanted = name.lower().replace("-", "_").replace(" ", "_")
    if wanted not in analyses():
        near = difflib.get_close_matches(wanted, analyses(), 3, 0.4)
        raise InputError(f"no analysis {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ".") + f" There is {', '.join(analyses())}")
    return getattr(importlib.import_module(f"manyviews.analyze.{wanted}"), wanted)


def chosen(run: Run, data: Any) -> Data:
    """The data asked for, as the run's encoder reads it, or the run's own."""
    if data is None and run.options.data == GIVEN:
        raise InputError(f"name the labelled data to look at {run.path} with: the run keeps no copy of data that was given in Python")
    found = open_data(run.options.data if data is None else data, run.options.modality or None)
    return found if data is None or not found.form else load(run.path).reading(found)


def beginning(run: Run, data: Data) -> Method:
    """The run's method with the weights that it began with, but for pretrained ones. Raises InputError where it has no projector."""
    opened = data if run.options.data == GIVEN else None
    own, options, _ = resolve(dataclasses.replace(run.options, weights=""), opened)
    method, _ = assemble(options, own, quiet=True)
    if not isinstance(getattr(method, "projector", None), nn.Module):
        raise InputError(f"{run.path} was trained by {options.method}, which has no projector between encoder and loss; simclr, vicreg or byol have one")
    return method


def last(run: Run, data: Data) -> tuple[Method, int]:
    """The method as the run's checkpoint holds it, and the step: encoder and projector of the same moment, which need not be the best encoder's."""
    method, state = beginning(run, data), load_checkpoint(run.path / "last.ckpt")
    method.load_state_dict(state["method"] if state["stage"] else state["module"])
    return method, int(state["step"])


def see(encoder: Callable[[View], Tensor], part: Data, size: int, device: str, groups: str) -> tuple[Labelled, Int[Tensor, "rows"] | None]:
    """Features of the readable rows with labels, and the rows' groups."""
    order = np.array_split(np.arange(len(part)), -(-len(part) // 256))
    x, index = extract(encoder, part.batches(order), plain(size, part.modality), device)
    part.check_bad()
    assert part.labels is not None
    column = part.columns.get(groups)
    numbers = None if column is None else np.unique(column, return_inverse=True)[1] if column.dtype.kind not in "iu" else column
    if column is not None and numbers is not None and column.dtype.kind == "f":
        numbers = np.where(np.isnan(column), -1, numbers)
    return (
        Labelled(x, torch.from_numpy(part.labels)[index].long(), len(part.classes)),
        None if numbers is None else torch.from_numpy(np.ascontiguousarray(numbers))[index].long(),
    )
