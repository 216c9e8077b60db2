"""`manyviews evaluate`: what a model is worth, beside the untrained encoder and the raw input."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyviews.app.choosing import UNLABELLED, choose
from manyviews.app.measures import EVALUATORS, PRECISIONS, Case
from manyviews.app.model import Model, load
from manyviews.app.options import GIVEN
from manyviews.app.run import Run
from manyviews.backbones.building import modality_of
from manyviews.contracts import View
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.data.splits import split
from manyviews.errors import InputError
from manyviews.evaluate.scores import Score
from manyviews.nn.hardware import has_bf16
from manyviews.train.checkpoint import atomic
from manyviews.views.finding import plain, raw

RAW = 32  # the side at which pixels are compared as they are
FILE = "evaluation.json"


@dataclasses.dataclass
class Evaluation:
    """Scores by model and measure. Printed, it is a table. `data` is what was tested on, how it was split, and whether the run had learned from it."""

    data: str
    scores: dict[str, dict[str, Score]]  # who -> measure -> score
    about: dict[str, Any] = dataclasses.field(default_factory=dict)  # model, hash of its weights, fingerprint of the data, seed, precision
    symmetry: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)  # who -> transformation -> all that was measured of it, with curves

    def table(self) -> str:
        """For people: one line a measure, one column a model, with the 95 % interval over test samples."""
        who = list(self.scores)
        measures = dict.fromkeys(m for w in who for m in self.scores[w])
        lines = [["", *who], *([m, *(str(self.scores[w].get(m, "")) for w in who)] for m in measures)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)

    def __str__(self) -> str:
        return f"{self.data}\n{self.table()}"

    __repr__ = __str__

    def to_json(self) -> dict[str, Any]:
        scores = {w: {m: dataclasses.asdict(s) for m, s in row.items()} for w, row in self.scores.items()}
        more = {"symmetry": self.symmetry} if self.symmetry else {}
        return {"data": self.data, "about": self.about, "scores": scores, **more}

    def save(self, path: Path) -> None:
        """To a JSON file; measures that it already holds of the same model, data and settings stay."""
        content = self.to_json()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            before = json.loads(path.read_text(encoding="utf-8"))
            if before["about"] == self.about:
                known, new = before.get("symmetry", {}), self.symmetry
                if known or new:
                    content["symmetry"] = {who: {**known.get(who, {}), **new.get(who, {})} for who in dict.fromkeys([*known, *new])}
                content["scores"] = {w: {**before["scores"].get(w, {}), **row} for w, row in content["scores"].items()}
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")


def evaluate(
    model: str | Path | Model | Run,
    data: Any = None,
    only: list[str] | str | None = None,
    seed: int = 0,
    size: int | None = None,
    precision: str = "32",
    quiet: bool = False,
    max_bad: float = 0.2,
    save: bool = True,
) -> Evaluation:
    """Scores of `model`, its untrained twin and the raw input on labelled data.

    model: whatever `load` accepts, or a Model or a Run; a run's result is also written to its evaluation.json, but for `save=False`. data: by default
    the run's own. only: names of EVALUATORS (by default all that make sense for the data but SELDOM). precision: of the encoder and of
    large products, 32 or bf16. max_bad: the largest share of samples that may be unreadable. Raises InputError.
    """
    reference, folder, data = resolve(model, data)
    data, opened = pair(reference, data, size)
    data = dataclasses.replace(data, max_bad=max_bad)
    chosen = choose(only, precision, data, opened)
    if precision == "bf16" and not has_bf16("cpu") and not quiet:
        print("this processor has no bf16: neighbours and linear probes use float32 products, faster here and no less exact", file=sys.stderr)
    train, test = split(data if set(chosen) - set(UNLABELLED) else without_lone_label(data), seed)
    parts = [part if part is None else prepare(part, opened) for part in (train, test, validation(data))]
    scores: dict[str, dict[str, Score]] = {}
    symmetry: dict[str, dict[str, Any]] = {}
    encoders: dict[str, Callable[[], Callable[[View], Tensor]]] = {
        "trained": lambda: opened.encoder,
        "untrained": lambda: opened.untrained().encoder,
        "raw input": lambda: raw(opened.modality),
    }
    for who, encoder in encoders.items():
        side = min(opened.size, RAW) if who == "raw input" and opened.modality == "images" else opened.size
        with said(who, quiet) as say:
            say(f"{sum(len(part) for part in parts if part is not None):,} samples")
            case = Case(encoder(), side, parts[0], parts[1], parts[2], opened.device, seed, PRECISIONS[precision])  # type: ignore[arg-type]
            scores[who] = {}
            for name in chosen:
                say(name)
                scores[who].update(EVALUATORS[name](case))
            if case.symmetries:
                symmetry[who] = {name: found.to_json() for name, found in case.symmetries.items()}
    about = {"model": opened.name, "hash": opened.hash(), "fingerprint": data.fingerprint(), "seed": seed, "precision": precision, "test": len(test)}
    notes = [
        data.describe(),
        train.said,
        "the run had learned from all of these samples, those tested on included" * learned(folder, data, about["fingerprint"]),
    ]
    found = Evaluation("; ".join(filter(None, notes)), scores, about, symmetry)
    if folder is not None and save:
        found.save(folder / FILE)
    return found


def without_lone_label(data: Data) -> Data:
    """The data, without labels where these are all the same: what needs none must not be refused for that."""
    if data.labels is None or len(set(data.labels[data.labels >= 0].tolist())) > 1:
        return data
    return dataclasses.replace(data, columns={name: column for name, column in data.columns.items() if name != "label"}, classes=())


def pair(reference: str | Path | Model, data: Any, size: int | None) -> tuple[Data, Model]:
    """The data and the model, each as the other needs it: data of the model's modality; an untrained encoder made for the data. Raises InputError."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if isinstance(reference, str) and reference.startswith("untrained:"):
        found = open_data(data, modality_of(reference.removeprefix("untrained:")))
        return found, load(reference, size, 3 if found.modality == "images" else found.channels, device, found.form)
    model = reference if isinstance(reference, Model) else load(reference, size, device=device)
    found = open_data(data, None if model.modality == "pairs" else model.modality)  # an encoder of pictures with captions looks at pictures alone, too
    return model.reading(found), model


def resolve(model: str | Path | Model | Run, data: Any) -> tuple[str | Path | Model, Path | None, Any]:
    """What to load, the run's folder if it is one, and the data. Raises InputError when no data is known."""
    if isinstance(model, Run):
        model = model.path
    folder = None if isinstance(model, Model) or not (Path(model) / "run.json").is_file() else Path(model)
    if data is None:
        data = Run(folder).config.get("options", {}).get("data", "") if folder else ""
    if isinstance(data, str) and data in ("", GIVEN):
        why = ": the run keeps no copy of data that was given in Python" if data else ""
        raise InputError(f"name the labelled data to evaluate {model.name if isinstance(model, Model) else model} on{why}")
    return model, folder, data


def learned(folder: Path | None, data: Data, fingerprint: str) -> bool:
    """Whether the run was trained on the rows that are tested on: on this very data, which has no split of its own."""
    return folder is not None and "split" not in data.columns and Run(folder).config.get("data", {}).get("fingerprint") == fingerprint


def validation(data: Data) -> Data | None:
    """The data's own labelled validation rows, where they are not what is tested on, as they are where no test row has a label."""
    own = data.columns.get("split")
    if own is None or data.labels is None:
        return None
    known = data.labels >= 0
    if not all((known & (own == name)).any() for name in ("train", "test")):
        return None
    rows = known & (own == "validation")
    return data.select(rows) if rows.any() else None


def prepare(part: Data, model: Model) -> Data:
    """Decoded once for all encoders, where that fits into memory."""
    return part.in_channels(model.channels).reduced(max(part.pixels, plain(model.size, model.modality).pixels)).keep()


@contextlib.contextmanager
def said(who: str, quiet: bool) -> Iterator[Callable[[str], None]]:
    """One line on stderr that grows with what is being done."""
    since = time.perf_counter()

    def say(text: str) -> None:
        if not quiet:
            print(f" {text},", end="", file=sys.stderr, flush=True)

    if not quiet:
        print(f"{who}:", end="", file=sys.stderr, flush=True)
    try:
        yield say
        if not quiet:
            print(f" {time.perf_counter() - since:.1f} s", end="", file=sys.stderr)
    finally:
        if not quiet:
            print(file=sys.stderr, flush=True)
