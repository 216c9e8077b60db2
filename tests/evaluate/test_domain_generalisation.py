"""The protocol of unsupervised domain generalisation on features whose classes and domains are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.domain_generalisation import domain_generalisation, leave_one_out, right_answers
from manyviews.evaluate.scores import Labelled


def features(count: int, shift: float, style: float, seed: int) -> tuple[Labelled, Tensor]:
    """Two classes on the first axis and two domains on the second, each `style` apart; `shift` moves everything along the first."""
    generator = torch.Generator().manual_seed(seed)
    y, domain = torch.randint(0, 2, (2, count), generator=generator)
    x = 0.3 * torch.randn(count, 4, generator=generator)
    x[:, 0] += 2.0 * y + shift
    x[:, 1] += style * domain
    return Labelled(x, y, 2), domain


def test_what_separates_classes_in_every_domain_is_found_and_what_is_moved_is_not() -> None:
    train, domains = features(400, 0.0, 2.0, 0)
    same, moved = features(200, 0.0, 2.0, 1)[0], features(200, 2.0, 2.0, 1)[0]
    near, far = (domain_generalisation(train, domains, test) for test in (same, moved))
    assert near["unseen domain"].value > 0.97 and 0.35 < far["unseen domain"].value < 0.65
    assert near["seen domains"].value > 0.97 and near["domain"].value > 0.97


def test_features_without_style_do_not_give_their_domain_away() -> None:
    train, domains = features(1000, 0.0, 0.0, 0)
    assert domain_generalisation(train, domains, train)["domain"].value < 0.62


def test_a_share_of_labels_is_drawn_from_every_class_of_every_domain() -> None:
    train, domains = features(40, 0.0, 2.0, 3)
    rows = right_answers(train, domains, train, share=0.01, draws=4)
    assert len(rows["unseen domain"]) == 40 and len(rows["seen domains"]) == len(rows["domain"]) == 7  # a fifth of each kind, rounded
    assert float(rows["unseen domain"].mean()) > 0.8  # four labelled rows, one of each kind


def test_the_same_seed_draws_the_same_labels_and_another_one_others() -> None:
    train, domains = features(200, 0.0, 2.0, 0)
    hard = features(500, 0.6, 2.0, 1)[0]
    first, again, other = (right_answers(train, domains, hard, share=0.02, seed=seed)["unseen domain"] for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_each_domain_is_left_out_once() -> None:
    domains = np.array(["b", "a", "c", "a", "b"])
    found = {name: (train.tolist(), test.tolist()) for name, train, test in leave_one_out(domains)}
    assert found == {"a": ([0, 2, 4], [1, 3]), "b": ([1, 2, 3], [0, 4]), "c": ([0, 1, 3, 4], [2])}


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="two domains"):
        next(leave_one_out(np.zeros(3)))
    train, domains = features(40, 0.0, 2.0, 0)
    with pytest.raises(ValueError, match="share"):
        right_answers(train, domains, train, share=0.0)
