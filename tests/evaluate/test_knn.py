"""The nearest-neighbour classifier against a slow loop and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import manyviews.evaluate.knn as module
from manyviews.evaluate.knn import knn, neighbours


@pytest.fixture(autouse=True)
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that products in bfloat16 are what they say, on any machine."""
    monkeypatch.setattr(module, "has_bf16", lambda device: True)


def clustered(rows: int, dim: int = 16, classes: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    y = torch.randint(0, classes, (rows,), generator=g)
    return means[y] + torch.randn(rows, dim, generator=g), y


def test_votes_equal_a_slow_loop_over_the_definition() -> None:
    x, y = clustered(60)
    t, _ = clustered(20, seed=1)
    expected = []
    for q in t.double():
        scored = sorted(((float(q @ b / (q.norm() * b.norm())), int(c)) for b, c in zip(x.double(), y, strict=True)), reverse=True)[:7]
        votes = [sum(math.exp(s / 0.07) for s, c in scored if c == k) for k in range(5)]
        expected.append(votes.index(max(votes)))
    assert knn(x, y, t, k=7).tolist() == expected


def test_classes_equal_those_of_scikit_learn() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    x, y = clustered(500)
    t, _ = clustered(200, seed=1)
    theirs = KNeighborsClassifier(20, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine", algorithm="brute").fit(x.numpy(), y.numpy())
    assert (knn(x, y, t).numpy() == theirs.predict(t.numpy())).all()


@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
def test_neighbours_are_exact_in_chunks_and_in_both_precisions(products: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 4000)  # ten queries at a time
    x, _ = clustered(400, 32)
    t, _ = clustered(45, 32, seed=1)
    values, rows = neighbours(t, x, 5, products)
    cosine = torch.nn.functional.normalize(t.double(), dim=1) @ torch.nn.functional.normalize(x.double(), dim=1).T
    expected = cosine.topk(5, 1)
    assert torch.equal(rows, expected.indices)
    torch.testing.assert_close(values.double(), expected.values, atol=1e-6, rtol=0)


def test_candidates_that_rounding_could_have_mixed_up_are_looked_for_again() -> None:
    """All rows within less than bfloat16 can tell apart: candidates alone are arbitrary."""
    x = torch.ones(600, 8) + 1e-4 * torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
    values, rows = neighbours(x[:20], x, 3, torch.bfloat16)
    expected, _ = neighbours(x[:20], x, 3)
    assert torch.equal(values, expected)
    assert (rows >= 0).all()


def test_hardware_without_bfloat16_takes_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_bf16", lambda device: False)
    monkeypatch.setattr(module, "ranked_candidates", lambda *_: pytest.fail("products in bfloat16"))
    x, _ = clustered(400, 32)
    for a, b in zip(neighbours(x[:9], x, 5, torch.bfloat16), neighbours(x[:9], x, 5), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
def test_an_excluded_row_is_never_a_neighbour(products: torch.dtype) -> None:
    x, _ = clustered(200)
    own = torch.arange(200)
    _, rows = neighbours(x, x, 4, products, exclude=own)
    assert not (rows == own[:, None]).any()
    assert (neighbours(x, x, 1, products)[1][:, 0] == own).all()


def test_more_neighbours_than_rows_are_all_rows() -> None:
    x, y = clustered(6)
    assert neighbours(x, x, 50)[1].shape == (6, 6)
    assert neighbours(x, x, 50, exclude=torch.arange(6))[1].shape == (6, 5)
    assert knn(x, y, x, k=50).shape == (6,)


def test_scale_of_features_does_not_matter() -> None:
    x, y = clustered(100)
    t, _ = clustered(50, seed=1)
    assert torch.equal(knn(x, y, t), knn(x * torch.rand(100, 1).add(0.1), y, 7 * t))
