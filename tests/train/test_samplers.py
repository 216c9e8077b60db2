"""Orders: every row once, every class equally often, shared out over ranks, and found again in mid-epoch."""

from __future__ import annotations

import numpy as np
import pytest

from manyviews.train.samplers import balanced, batch_rows, shuffled


def test_every_row_comes_once_an_epoch_in_another_order_each_time() -> None:
    first, second = shuffled(50, {}, 0, 0), shuffled(50, {}, 0, 1)
    assert sorted(first) == sorted(second) == list(range(50)) and list(first) != list(second)
    assert list(first) == list(shuffled(50, {}, 0, 0))


def test_balanced_batches_hold_rare_classes_as_often_as_common_ones() -> None:
    label = np.array([0] * 90 + [1] * 8 + [2] * 2)
    order = balanced(100, {"label": label}, 0, 0)
    counts = np.bincount(label[order])
    assert len(order) == 100 and counts.max() - counts.min() <= 2


def test_balanced_batches_need_labels() -> None:
    with pytest.raises(ValueError, match="labels"):
        balanced(10, {}, 0, 0)


def test_ranks_share_the_batches_that_one_process_would_see() -> None:
    alone = list(batch_rows(30, {}, 8, 3, 0, 7))
    ranks = [list(batch_rows(30, {}, 8, 3, 0, 7, rank, 2)) for rank in range(2)]
    for batch, *parts in zip(alone, *ranks, strict=True):
        assert sorted(np.concatenate(parts)) == sorted(batch) and len(parts[0]) == len(parts[1])


def test_rows_that_belong_together_go_to_one_rank() -> None:
    alone = list(batch_rows(30, {}, 8, 3, 0, 7))
    ranks = [list(batch_rows(30, {}, 8, 3, 0, 7, rank, 2, together=2)) for rank in range(2)]
    for batch, *parts in zip(alone, *ranks, strict=True):
        pairs = {tuple(pair) for pair in batch.reshape(-1, 2).tolist()}
        assert {tuple(pair) for part in parts for pair in part.reshape(-1, 2).tolist()} == pairs


def test_a_later_start_goes_on_where_it_would_have_been() -> None:
    alone = list(batch_rows(30, {}, 8, 3, 0, 9))
    for start in (1, 3, 5):
        assert all(np.array_equal(a, b) for a, b in zip(alone[start:], batch_rows(30, {}, 8, 3, start, 9), strict=True))


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    assert [sorted(rows) for rows in batch_rows(5, {}, 8, 0, 0, 2)] == [list(range(5))] * 2
