"""Cross-validation: every row is asked, by classifiers that learned from the rows of the other folds.

For sets whose test part is too small to tell methods apart. Features that were learned without labels may have been learned from all of the rows.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from manyviews.evaluate.knn import knn
from manyviews.evaluate.linear import linear
from manyviews.evaluate.scores import Labelled, by_class


def cross_validated(rows: Labelled, seed: int = 0, count: int = 5) -> dict[str, np.ndarray]:
    """`knn` (20 neighbours, weighted) and `linear`: right or wrong for each row. seed: of what the linear probe holds out; the folds are always the same."""
    fold = folds(rows.y, count)
    found = {name: np.zeros(len(rows), dtype=bool) for name in ("knn", "linear")}
    for k in fold.unique().tolist():
        known, asked, where = rows.select(fold != k), rows.select(fold == k), (fold == k).numpy()
        found["knn"][where] = (knn(known.x, known.y, asked.x) == asked.y).numpy()
        found["linear"][where] = (linear(known, seed=seed).predict(asked.x) == asked.y).numpy()
    return found


def folds(y: Int[Tensor, "rows"], count: int, seed: int = 0) -> Int[Tensor, "rows"]:
    """The fold of each row, drawn by `seed`: of every class as many in each, as far as that goes."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    fold = torch.empty_like(y)
    for label, own in by_class(y[order]).items():
        fold[order[own]] = (torch.arange(len(own)) + label) % count
    return fold
