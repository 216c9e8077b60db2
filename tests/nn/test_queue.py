from collections import deque

import pytest
import torch

from manyviews.errors import InputError
from manyviews.nn.queue import Queue


def test_the_queue_holds_the_last_rows_pushed_as_a_deque_would() -> None:
    queue, slow = Queue(7, 2), deque(maxlen=7)
    number = 0
    for n in (3, 3, 5, 2, 7, 11, 1):
        index = torch.arange(number, number + n)
        queue.push(torch.stack([index, -index], 1).float(), index)
        slow.extend(index.tolist())
        number += n
        assert sorted(i for i in queue.owner.tolist() if i >= 0) == sorted(slow)
    assert torch.equal(queue.rows[:, 0], queue.owner.float()) and torch.equal(queue.rows[:, 1], -queue.owner.float())


def test_the_oldest_row_is_replaced_first() -> None:
    queue = Queue(4, 1)
    queue.push(torch.ones(4, 1), torch.arange(4))
    queue.push(torch.zeros(1, 1), torch.tensor([9]))
    assert queue.owner.tolist() == [9, 1, 2, 3]
    queue.push(torch.zeros(2, 1), torch.tensor([10, 11]))
    assert queue.owner.tolist() == [9, 10, 11, 3]


def test_a_new_queue_holds_unit_vectors_that_belong_to_no_sample() -> None:
    queue = Queue(5, 3)
    torch.testing.assert_close(queue.rows.norm(dim=1), torch.ones(5))
    assert queue.owner.tolist() == [-1] * 5 and len(queue) == 5


def test_a_checkpoint_restores_rows_owners_and_position() -> None:
    queue, clone = Queue(5, 3), Queue(5, 3)
    queue.push(torch.randn(3, 3), torch.tensor([4, 2, 8]))
    clone.load_state_dict(queue.state_dict())
    for q in (queue, clone):
        q.push(torch.ones(3, 3), torch.tensor([1, 3, 5]))
    assert torch.equal(queue.rows, clone.rows) and torch.equal(queue.owner, clone.owner) and int(clone.position) == 1


def test_an_empty_queue_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        Queue(0, 3)
