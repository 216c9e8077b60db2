"""`manyviews evaluate`: what a model is worth, beside the untrained encoder and the raw input."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manyviews.app.model import Model, load
from manyviews.app.options import GIVEN
from manyviews.app.run import Run
from manyviews.backbones.building import modality_of
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.data.splits import split
from manyviews.errors import InputError
from manyviews.evaluate.features import extract
from manyviews.evaluate.few_shot import few_shot
from manyviews.evaluate.knn import knn
from manyviews.evaluate.label_fraction import label_fraction
from manyviews.evaluate.linear import Linear, linear
from manyviews.evaluate.linear_sgd import linear_sgd
from manyviews.evaluate.retrieval import retrieval
from manyviews.evaluate.robustness import robustness
from manyviews.evaluate.scores import Labelled, Score, accuracy
from manyviews.nn.hardware import has_bf16
from manyviews.train.checkpoint import atomic
from manyviews.views.corruptions import CORRUPTIONS, corrupted
from manyviews.views.finding import plain, raw

RAW = 32  # the side at which pixels are compared as they are
SEVERITIES, CORRUPTED = (1, 3, 5), 1000  # test samples that are corrupted: up to this many
PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16}
FILE = "evaluation.json"


@dataclasses.dataclass
class Case:
    """What there is to measure of one encoder: its features of each part, and a way to look at corrupted test samples."""

    train: Labelled
    test: Labelled
    validation: Labelled | None  # the data's own, where it has test rows as well; choices are made on it
    corrupt: Callable[[str, int], Labelled]  # (corruption, severity) -> features of up to CORRUPTED test samples
    seed: int = 0
    products: torch.dtype = torch.float32

    @functools.cached_property
    def classifier(self) -> Linear:
        """The linear probe, fitted once for all that need it."""
        return linear(self.train, self.validation, seed=self.seed, products=self.products)


def score_knn(case: Case) -> dict[str, Score]:
    """k = 20 and temperature 0.07 as published: nothing is chosen."""
    return {"knn": accuracy(knn(case.train.x, case.train.y, case.test.x, products=case.products) == case.test.y, case.seed)}


def score_linear(case: Case) -> dict[str, Score]:
    return {"linear": accuracy(case.classifier.predict(case.test.x) == case.test.y, case.seed)}


def score_linear_sgd(case: Case) -> dict[str, Score]:
    heads = linear_sgd(case.train, case.validation, seed=case.seed)
    return {"linear (SGD)": accuracy(heads.predict(case.test.x)[0] == case.test.y, case.seed)}


def score_robustness(case: Case) -> dict[str, Score]:
    """Of the linear probe, under each corruption at three severities."""
    looks = ((name, severity, case.corrupt(name, severity)) for name in CORRUPTIONS for severity in SEVERITIES)
    return robustness(case.classifier.predict, ((name, seen.x, seen.y) for name, _, seen in looks), case.seed)


EVALUATORS: dict[str, Callable[[Case], dict[str, Score]]] = {
    "knn": score_knn,
    "linear": score_linear,
    "few_shot": lambda case: few_shot(case.train, case.test, seed=case.seed),
    "retrieval": lambda case: retrieval(case.train, case.test, seed=case.seed),
    "label_fraction": lambda case: label_fraction(case.train, case.test, case.classifier, seed=case.seed),
    "robustness": score_robustness,
    "linear_sgd": score_linear_sgd,
}
PICTURES = ("robustness",)  # what is measured of pictures alone
USUAL = tuple(name for name in EVALUATORS if name != "linear_sgd")  # which takes long, and seldom says more than linear


@dataclasses.dataclass
class Evaluation:
    """Scores by model and measure. Printed, it is a table. `data` is what was tested on, how it was split, and whether the run had learned from it."""

    data: str
    scores: dict[str, dict[str, Score]]  # who -> measure -> score
    about: dict[str, Any] = dataclasses.field(default_factory=dict)  # model, hash of its weights, fingerprint of the data, seed, precision

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
        return {"data": self.data, "about": self.about, "scores": scores}

    def save(self, path: Path) -> None:
        """To a JSON file; measures that it already holds of the same model, data and settings stay."""
        content = self.to_json()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            before = json.loads(path.read_text(encoding="utf-8"))
            if before["about"] == self.about:
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
    the run's own. only: names of EVALUATORS (by default USUAL). precision: of the encoder and of large products, 32 or bf16. max_bad: the largest share
    of samples that may be unreadable. Raises InputError.
    """
    reference, folder, data = resolve(model, data)
    data, opened = pair(reference, data, size)
    data = dataclasses.replace(data, max_bad=max_bad)
    chosen = choose(only, precision, opened.modality)
    if data.labels is None:
        raise InputError(f"evaluation needs labels, and {data.describe()} has none; put each class into a folder of its own")
    if precision == "bf16" and not has_bf16("cpu") and not quiet:
        print("this processor has no bf16: neighbours and linear probes use float32 products, faster here and no less exact", file=sys.stderr)
    train, test = split(data, seed)
    parts = [prepare(part, opened) for part in (train, test, validation(data)) if part is not None]
    scores: dict[str, dict[str, Score]] = {}
    encoders: dict[str, Callable[[], Callable[[View], Tensor]]] = {
        "trained": lambda: opened.encoder,
        "untrained": lambda: opened.untrained().encoder,
        "raw input": lambda: raw(opened.modality),
    }
    for who, encoder in encoders.items():
        side = min(opened.size, RAW) if who == "raw input" and opened.modality == "images" else opened.size
        with said(who, quiet) as say:
            say(f"embedding {sum(map(len, parts)):,}")
            case = look(encoder(), side, parts, opened.device, seed, PRECISIONS[precision])
            scores[who] = {}
            for name in chosen:
                say(name)
                scores[who].update(EVALUATORS[name](case))
    about = {"model": opened.name, "hash": opened.hash(), "fingerprint": data.fingerprint(), "seed": seed, "precision": precision, "test": len(case.test)}
    notes = [
        data.describe(),
        train.said,
        "the run had learned from all of these samples, those tested on included" * learned(folder, data, about["fingerprint"]),
    ]
    found = Evaluation("; ".join(filter(None, notes)), scores, about)
    if folder is not None and save:
        found.save(folder / FILE)
    return found


def pair(reference: str | Path | Model, data: Any, size: int | None) -> tuple[Data, Model]:
    """The data and the model, each as the other needs it: data of the model's modality; an untrained encoder made for the data. Raises InputError."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if isinstance(reference, str) and reference.startswith("untrained:"):
        found = open_data(data, modality_of(reference.removeprefix("untrained:")))
        return found, load(reference, size, 3 if found.modality == "images" else found.channels, device, found.form)
    model = reference if isinstance(reference, Model) else load(reference, size, device=device)
    return open_data(data, model.modality), model


def choose(only: list[str] | str | None, precision: str, modality: str = "images") -> list[str]:
    """The measurements asked for. Raises InputError with the nearest names of all that do not exist, or not for this modality."""
    wanted = [only] if isinstance(only, str) else list(only or [name for name in USUAL if name not in PICTURES or modality == "images"])
    problems = []
    for name in dict.fromkeys(wanted):
        if name not in EVALUATORS:
            near = difflib.get_close_matches(name, EVALUATORS, 2, 0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else "."
            problems.append(f"no measurement {name!r}{hint} There is {', '.join(EVALUATORS)}")
        elif name in PICTURES and modality != "images":
            problems.append(f"{name} is measured of images, and this is a model of {modality}")
    if precision not in PRECISIONS:
        problems.append(f"--precision {precision}: expected {' or '.join(PRECISIONS)}")
    if problems:
        raise InputError(*problems)
    return list(dict.fromkeys(wanted))


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


def look(encoder: Callable[[View], Tensor], size: int, parts: list[Data], device: str, seed: int, products: torch.dtype) -> Case:
    """The features of train, test and, where there are any, validation rows. Raises InputError when they are not finite or not enough could be read."""

    def see(part: Data, policy: Callable[[View, Counter], dict]) -> Labelled:
        order = np.array_split(np.arange(len(part)), -(-len(part) // 256))
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=products == torch.bfloat16):
            x, index = extract(encoder, part.batches(order), policy, device)
        part.check_bad()
        assert part.labels is not None
        return Labelled(x, torch.from_numpy(part.labels)[index].long(), len(part.classes))

    policy = plain(size, parts[0].modality)
    some = parts[1]
    if len(some) > CORRUPTED:
        some = some.select(np.sort(np.random.default_rng([seed, 3]).permutation(len(some))[:CORRUPTED]))
    seen = [see(part, policy) for part in parts]
    if len(seen[0].y.unique()) < 2 or not len(seen[1]):
        raise InputError("of the samples that could be read, fewer than two classes are left to train a classifier, or none to test it")
    return Case(seen[0], seen[1], seen[2] if len(seen) > 2 else None, lambda name, severity: see(some, corrupted(size, name, severity)), seed, products)


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
