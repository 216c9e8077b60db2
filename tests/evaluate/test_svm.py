"""Linear machines and their trials, beside scikit-learn and by construction."""

from __future__ import annotations

import pytest
import torch

from manyviews.errors import InputError
from manyviews.evaluate.scores import Labelled
from manyviews.evaluate.svm import predicted, svm, trials


def blobs(each: int, classes: int, seed: int, apart: float = 6.0) -> Labelled:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 8, generator=torch.Generator().manual_seed(99)) * apart
    y = torch.arange(classes).repeat_interleave(each)
    return Labelled(centres[y] + torch.randn(len(y), 8, generator=generator), y, classes)


def test_blobs_far_apart_are_told_apart() -> None:
    assert svm(blobs(20, 4, 0), blobs(10, 4, 1))["svm"].value == 1.0


def test_labels_at_random_are_answered_at_chance() -> None:
    assert svm(blobs(50, 4, 0, apart=0.0), blobs(50, 4, 1, apart=0.0))["svm"].value < 0.4


def test_features_on_other_scales_are_answered_alike() -> None:
    train, test = blobs(15, 3, 0, apart=0.5), blobs(15, 3, 1, apart=0.5)
    scale = torch.logspace(-2, 2, 8)
    assert (predicted(train, test.x) == predicted(Labelled(train.x * scale + 5, train.y, 3), test.x * scale + 5)).all()


def test_validation_rows_choose_the_cost_and_are_learned_from() -> None:
    train, more = blobs(2, 3, 0), blobs(20, 3, 2)
    assert svm(train, blobs(10, 3, 1), more)["svm"].value == 1.0


def test_trials_are_those_that_the_classes_allow() -> None:
    assert list(trials(blobs(25, 6, 0), blobs(5, 6, 1), count=2)) == ["5-way 10-shot svm", "5-way 20-shot svm"]
    found = trials(blobs(12, 12, 0), blobs(5, 12, 1), count=3)
    assert list(found) == ["5-way 10-shot svm", "10-way 10-shot svm"] and all(score.value > 0.9 for score in found.values())
    with pytest.raises(InputError, match="5 classes with 10 training samples"):
        trials(blobs(9, 12, 0), blobs(5, 12, 1))


def test_trials_are_the_same_for_the_same_seed() -> None:
    train, test = blobs(12, 6, 0, apart=0.7), blobs(30, 6, 1, apart=0.7)
    assert trials(train, test, count=3) == trials(train, test, count=3) != trials(train, test, count=3, seed=1)
