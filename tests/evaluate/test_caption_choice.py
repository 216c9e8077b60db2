"""Captions told apart, against slow loops; equal ones share what there is to win."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from manyviews.evaluate.caption_choice import captions_told, choice


def random(rows: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def test_the_choice_is_that_of_a_slow_loop() -> None:
    scores, own = random(30, 6), torch.arange(30) % 6
    found = choice(scores, own)
    for row, k, first, place in zip(scores.tolist(), own.tolist(), found["zero-shot"], found["place"], strict=True):
        better = sum(score > row[k] for score in row)
        assert first == (better == 0) and place == pytest.approx(1 - better / 5)


def test_equal_captions_share_and_a_constant_is_right_by_chance() -> None:
    found = choice(torch.tensor([[2.0, 2.0, 1.0], [1.0, 1.0, 2.0], [0.1 + 0.2, 0.3, 0.0]], dtype=torch.float64), torch.tensor([0, 0, 1]))
    np.testing.assert_allclose(found["zero-shot"], [0.5, 0, 0.5])
    np.testing.assert_allclose(found["place"], [0.75, 0.25, 0.75])
    found = choice(torch.ones(4, 5), torch.tensor([0, 1, 2, 4]))
    assert set(found["zero-shot"]) == {0.2} and set(found["place"]) == {0.5}


def test_a_group_is_asked_by_the_mean_of_its_texts_and_the_order_by_both_texts() -> None:
    table = {"a": random(1, seed=1)[0], "b": random(1, seed=2)[0], "c": random(1, seed=3)[0], "d": random(1, seed=4)[0]}
    groups, x = [["a", "b"], ["c", "d"]], random(5)
    found = captions_told(
        x, lambda texts: torch.stack([table[t] for t in texts]), groups, np.array([0, 1, 0, 1, 1]), np.array([1, 4]), ["a", "c"], ["b", "c"]
    )  # fmt: skip
    means = [normalize(normalize(torch.stack([table[t] for t in group]), dim=1).mean(0), dim=0) for group in groups]
    wanted = [float((row @ means[k]) >= (row @ means[1 - k])) for row, k in zip(x, (0, 1, 0, 1, 1), strict=True)]
    assert found["zero-shot"].tolist() == wanted == found["place"].tolist()
    better = float(x[1] @ normalize(table["a"], dim=0) > x[1] @ normalize(table["b"], dim=0))
    assert found["order"].tolist() == [better, 0.5]


def test_a_bag_of_words_ties_for_the_same_words_in_another_order_and_lengths_count() -> None:
    words = ["red", "blue", "circle", "square"]

    def bags(texts: list[str]) -> torch.Tensor:
        return torch.tensor([[float(word in text.split()) for word in words] for text in texts])

    groups = [["red circle blue square"], ["blue circle red square"], ["red circle"]]
    x = torch.tensor([[1.0, 2.0, 0.5, -0.1]])
    found = captions_told(x, bags, groups, np.array([0]), np.array([0]), groups[0], groups[1], unit=False)
    assert {name: values.tolist() for name, values in found.items()} == {"zero-shot": [0.5], "place": [0.75], "order": [0.5]}
