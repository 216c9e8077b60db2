"""Intervals and held-out rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manyviews.errors import InputError
from manyviews.evaluate.scores import Labelled, accuracy, bootstrap, by_class, held_out


def test_the_interval_of_an_accuracy_is_that_of_a_binomial() -> None:
    score = accuracy(torch.arange(400) < 300)
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert score.value == 0.75
    assert abs(score.low - (0.75 - half)) < 0.01 and abs(score.high - (0.75 + half)) < 0.01


def test_few_and_many_distinct_values_give_the_same_interval() -> None:
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0)).mul(20).round() / 20
    jittered = values + 1e-7 * torch.arange(1000)
    a, b = bootstrap(values, draws=4000), bootstrap(jittered.double(), draws=4000)
    assert abs(a.low - b.low) < 2e-3 and abs(a.high - b.high) < 2e-3


def test_the_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    covered = [s.low <= 0.3 <= s.high for s in (accuracy(torch.from_numpy(rng.random(200) < 0.3), seed=k) for k in range(300))]
    assert 0.90 <= np.mean(covered) <= 0.98


def test_no_values_have_no_mean() -> None:
    with pytest.raises(InputError, match="empty"):
        bootstrap(torch.empty(0))


def test_held_out_rows_are_a_fifth_of_each_class_and_lone_rows_stay() -> None:
    y = torch.tensor([0] * 50 + [1] * 10 + [2] * 3 + [3])
    rest, out = held_out(Labelled(torch.arange(64.0)[:, None], y, 4))
    assert out.y.bincount(minlength=4).tolist() == [10, 2, 1, 0]
    assert sorted(torch.cat([rest.x, out.x])[:, 0].tolist()) == list(range(64))


def test_the_rows_of_each_class_are_those_of_a_slow_loop_in_order() -> None:
    y = torch.tensor([4, 0, 4, 2, 0, 0, 4])
    found = by_class(y)
    assert {c: rows.tolist() for c, rows in found.items()} == {c: [i for i in range(7) if y[i] == c] for c in (0, 2, 4)}
    assert by_class(y[:0]) == {}


def test_very_many_classes_are_held_out_in_one_sort_and_not_class_by_class() -> None:
    import time

    y = torch.randint(0, 20_000, (400_000,), generator=torch.Generator().manual_seed(0))
    since = time.process_time()
    held_out(Labelled(torch.zeros(len(y), 1), y, 20_000))
    assert time.process_time() - since < 10, "a pass over all rows for each class takes a minute"


def test_labels_beyond_the_classes_are_refused() -> None:
    with pytest.raises(InputError, match="expected 0 to 1"):
        Labelled(torch.zeros(2, 1), torch.tensor([0, 2]), 2)
