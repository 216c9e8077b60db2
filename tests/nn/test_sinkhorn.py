import math

import numpy as np
import pytest
import torch
from gloo_pair import Pair

from manyviews.nn.sinkhorn import sinkhorn


def slow(scores: list[list[float]], epsilon: float, iterations: int) -> list[list[float]]:
    """By turns: columns to equal sums, rows to equal sums; then rows to one."""
    q = [[math.exp(s / epsilon) for s in row] for row in scores]
    rows, columns = len(q), len(q[0])
    for _ in range(iterations):
        for k in range(columns):
            total = sum(q[i][k] for i in range(rows))
            for i in range(rows):
                q[i][k] /= total * columns
        for i in range(rows):
            total = sum(q[i])
            q[i] = [a / (total * rows) for a in q[i]]
    return [[a / sum(row) for a in row] for row in q]


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_it_is_the_papers_loop(iterations: int) -> None:
    scores = torch.rand(6, 4) * 2 - 1
    torch.testing.assert_close(sinkhorn(scores, 0.05, iterations), torch.tensor(slow(scores.tolist(), 0.05, iterations)), atol=1e-5, rtol=1e-4)


def test_after_many_iterations_prototypes_have_equal_shares_and_rows_sum_to_one() -> None:
    q = sinkhorn(torch.randn(40, 7), 0.5, 200)
    torch.testing.assert_close(q.sum(1), torch.ones(40))
    torch.testing.assert_close(q.sum(0), torch.full((7,), 40 / 7), atol=1e-3, rtol=1e-3)


def test_a_prototype_that_everyone_prefers_does_not_get_everyone() -> None:
    scores = torch.randn(30, 3) * 0.1
    scores[:, 1] += 1
    assert (scores.argmax(1) == 1).all()
    assert sinkhorn(scores, 0.05, 3).argmax(1).bincount(minlength=3).min() >= 5


def test_a_bonus_for_a_prototype_or_for_a_sample_changes_nothing_in_the_limit() -> None:
    scores = torch.randn(20, 5)
    q = sinkhorn(scores, 0.5, 300)
    torch.testing.assert_close(sinkhorn(scores + torch.randn(5), 0.5, 300), q, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(sinkhorn(scores + torch.randn(20, 1), 0.5, 300), q, atol=1e-4, rtol=1e-3)


def test_large_scores_do_not_overflow() -> None:
    q = sinkhorn(1e4 * torch.randn(10, 4), 0.05, 3)
    assert q.isfinite().all()
    torch.testing.assert_close(q.sum(1), torch.ones(10))


def balanced(fabric: object, scores: np.ndarray, cut: int) -> np.ndarray:
    rows = scores[:cut] if fabric.global_rank == 0 else scores[cut:]
    return sinkhorn(torch.from_numpy(rows)).numpy()


def test_two_processes_balance_their_samples_together_even_unequally_many(pair: Pair) -> None:
    scores = torch.rand(10, 4)
    for cut in (5, 7):
        found = np.concatenate(pair(balanced, scores.numpy(), cut))
        np.testing.assert_allclose(found, sinkhorn(scores).numpy(), atol=1e-5)
