"""Every row is asked once, by what did not know it."""

from __future__ import annotations

import numpy as np
import torch

from manyviews.evaluate.cross_validation import cross_validated, folds
from manyviews.evaluate.knn import knn
from manyviews.evaluate.linear import linear
from manyviews.evaluate.scores import Labelled


def rows(count: int = 120, classes: int = 4) -> Labelled:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (count,), generator=generator)
    return Labelled(torch.randn(count, 6, generator=generator) + torch.eye(6)[y], y, classes)


def test_each_class_is_spread_evenly_over_the_folds_and_folds_are_of_about_one_size() -> None:
    y = torch.tensor([0] * 50 + [1] * 12 + [2] * 3 + [3])
    fold = folds(y, 5)
    for label in range(4):
        count = fold[y == label].bincount(minlength=5)
        assert int(count.max() - count.min()) <= 1
    assert int(fold.bincount(minlength=5).max() - fold.bincount(minlength=5).min()) <= 2


def test_answers_are_those_of_a_slow_loop_over_the_folds() -> None:
    data = rows()
    found, fold = cross_validated(data, seed=1, count=3), folds(data.y, 3)
    for i in range(0, len(data), 7):
        known = data.select(fold != fold[i])
        assert found["linear"][i] == bool(linear(known, seed=1).predict(data.x[i : i + 1]) == data.y[i])
        assert found["knn"][i] == bool(knn(known.x, known.y, data.x[i : i + 1]) == data.y[i])


def test_what_says_nothing_is_right_by_chance_and_a_row_never_finds_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 4
    noise = cross_validated(Labelled(torch.randn(400, 8, generator=generator), y, 4))
    assert all(abs(np.mean(right) - 0.25) < 0.08 for right in noise.values())
