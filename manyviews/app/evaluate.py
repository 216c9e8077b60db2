"""`manyviews evaluate`: what a model is worth, beside the untrained encoder and the raw input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.errors import InputError
from manyviews.app.model import Model, load
from manyviews.contracts import View
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.evaluate.features import extract
from manyviews.evaluate.knn import knn
from manyviews.evaluate.scores import Labelled, Score, accuracy
from manyviews.views import images


def knn_accuracy(train: Labelled, test: Labelled) -> dict[str, Score]:
    return {"knn": accuracy(knn(train.x, train.y, test.x) == test.y)}


EVALUATORS: dict[str, Callable[[Labelled, Labelled], dict[str, Score]]] = {"knn": knn_accuracy}


@dataclasses.dataclass
class Evaluation:
    """Scores by model and measure."""

    data: str
    scores: dict[str, dict[str, Score]]  # who -> measure -> score

    def table(self) -> str:
        """For people: one line a measure, one column a model."""
        who = list(self.scores)
        measures = list(self.scores[who[0]])
        lines = [[""] + who] + [[m] + [str(self.scores[w][m]) for w in who] for m in measures]
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)

    def to_json(self) -> dict[str, Any]:
        return {"data": self.data, "scores": {w: {m: dataclasses.asdict(s) for m, s in row.items()} for w, row in self.scores.items()}}


def raw_input(view: View) -> Float[Tensor, "batch numbers"]:
    """The pixels themselves."""
    return view.x.flatten(1)


def evaluate(model: str | Path | Model, data: Any, only: list[str] | None = None, seed: int = 0) -> Evaluation:
    """Scores of `model`, its untrained twin and the raw input on labelled data. Raises InputError."""
    model = model if isinstance(model, Model) else load(model)
    data = open_data(data)
    if data.labels is None:
        raise InputError(f"evaluation needs labels, and {data.describe()} has none; put each class into a folder of its own")
    train, test = split(data, seed)
    chosen = {name: EVALUATORS[name] for name in only or EVALUATORS}
    scores: dict[str, dict[str, Score]] = {}
    for name, encoder in {"trained": model.encoder, "untrained": model.untrained().encoder, "raw input": raw_input}.items():
        policy = images.plain(model.size if name != "raw input" else min(model.size, 32))
        parts = []
        for rows in (train, test):
            order = np.array_split(np.arange(len(rows)), -(-len(rows) // 256))
            x, index = extract(encoder, rows.reduced(policy.pixels).batches(order), policy, model.device)
            assert rows.labels is not None
            parts.append(Labelled(x, torch.from_numpy(rows.labels)[index], len(data.classes)))
        scores[name] = {measure: score for evaluator in chosen.values() for measure, score in evaluator(*parts).items()}
    return Evaluation(data.describe(), scores)


def split(data: Data, seed: int) -> tuple[Data, Data]:
    """The data's own training and test rows, or a seeded stratified 80/20 split."""
    own = data.columns.get("split")
    if own is not None:
        return data.select(own == "train"), data.select(own == ("test" if "test" in own else "validation"))
    rng = np.random.default_rng(seed)
    assert data.labels is not None
    test = np.zeros(len(data), dtype=bool)
    for c in np.unique(data.labels):
        rows = rng.permutation(np.flatnonzero(data.labels == c))
        test[rows[: max(1, len(rows) // 5)]] = True
    return data.select(~test), data.select(test)
